"""Workers that do not know what others know."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from breakbulk import RunStatus
from breakbulk.canvas import group
from breakbulk.ledger.workers import Worker
from breakbulk.runner import elsewhere
from tests.integration.canvas.conftest import Team

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _nothing_let_be() -> Iterator[None]:
    yield
    elsewhere._let_be.clear()


def register(team: Team, *tasks: str, queue: str = "celery") -> None:
    """A worker on another machine, which tells what tasks it knows."""
    worker = Worker(
        uuid4(), "there", os.getpid(), 1, "prefork", (queue,), ("celery.canvas",), "", settings={}
    )
    with team.yard.transaction() as connection:
        told = replace(worker, settings={elsewhere.TASKS: tasks})
        team.yard.ledger.workers.renew(connection, told, 600)


def test_a_task_that_another_worker_knows_is_left_to_that_one(team: Team) -> None:
    crew = team.yard.first_crew
    # On SQLite the next look of its steward finds that nobody holds the other one's lock.
    register(team, "team.far")
    handle = group([team.app.signature("team.far", (n,)) for n in range(3)]).apply_async()
    crew.work()
    assert handle.run.status() is RunStatus.RUNNING
    assert team.yard.count("failures") == 0
    assert team.yard.rows_of("chunks", "attempt > 1 OR losses > 0") == []
    # Here nobody tries again for a while, and then this is another process that knows it.
    crew.work()
    assert team.yard.rows_of("lanes") == []
    elsewhere._let_be.clear()

    @team.task(name="team.far")
    def far(number: int) -> Any:
        return number

    team.settle(handle)
    assert handle.get() == [0, 1, 2]


@pytest.mark.parametrize("why", ["it knows others", "another queue"])
def test_who_else_does_not_know_it_is_no_help(team: Team, why: str) -> None:
    if why == "another queue":
        register(team, "team.far", queue="far")
    else:
        register(team, "team.add")
    handle = group([team.app.signature("team.far", (1,))]).apply_async()
    team.settle(handle)
    assert handle.run.status() is RunStatus.HELD


def test_a_run_that_was_let_be_is_held_when_the_other_worker_has_gone(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(elsewhere, "_LET_BE", 0.0)
    register(team, "team.far")
    handle = group([team.app.signature("team.far", (1,))]).apply_async()
    (other,) = (row["id"] for row in team.yard.rows_of("workers", "host = 'there'"))
    with team.yard.transaction() as connection:
        team.yard.ledger.workers.remove(connection, other)
    team.settle(handle)
    assert "team.far is not known" in str(handle.run.record().reason)
