"""Which error callbacks are called, and which are sent."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from breakbulk.parts.errbacks import tell_errbacks

if TYPE_CHECKING:
    from celery import Celery

_REQUEST = {"id": "the id", "task": "team.part"}


def tell(app: Celery, *errbacks: Any) -> list[Any]:
    """Tell of a failure; the arguments of what is to be sent."""
    texts = tell_errbacks(app, errbacks, dict(_REQUEST), ValueError("why"), "its traceback")
    return [json.loads(text)["args"] for text in texts]


def test_those_of_three_arguments_are_called(app: Celery) -> None:
    told: list[Any] = []

    @app.task
    def new(request: Any, exc: BaseException, traceback: str) -> None:
        told.append((request.id, str(exc), traceback))

    @app.task
    def more(request: Any, exc: BaseException, traceback: str, word: str = "") -> None:
        told.append(word)

    assert tell(app, new.s(), json.loads(json.dumps(more.s(word="x")))) == []
    assert told == [("the id", "why", "its traceback"), "x"]


def test_those_of_one_argument_are_sent_with_the_id(app: Celery) -> None:
    @app.task
    def old(task_id: str) -> None:
        raise AssertionError(task_id)

    @app.task(bind=True)
    def bound(self: Any, request: Any, exc: Any, traceback: Any) -> None:
        raise AssertionError

    assert tell(app, old.s(), bound.s()) == [["the id"], ["the id"]]


def test_immutable_ones_are_sent_as_they_are(app: Celery) -> None:
    @app.task
    def done(word: str) -> None:
        raise AssertionError(word)

    assert tell(app, done.si("x")) == [["x"]]


def test_one_that_nobody_knows_here_is_sent(app: Celery) -> None:
    assert tell(app, app.signature("team.elsewhere")) == [["the id"]]


def test_one_that_fails_itself_changes_nothing(
    app: Celery, caplog: pytest.LogCaptureFixture
) -> None:
    @app.task(name="team.clumsy")
    def clumsy(request: Any, exc: BaseException, traceback: str) -> None:
        raise KeyError

    assert tell(app, clumsy.s()) == []
    assert "the error callback team.clumsy has failed itself" in caplog.text
