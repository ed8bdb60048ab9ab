"""Events: what is sent for which run, to whom, and what it carries."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from pyramid.events import subscriber
from pyramid.exceptions import ConfigurationError

from breakbulk import FinishedRun, RunStatus, SubmittedRun
from breakbulk.domain.run import Summary
from breakbulk.pyramid import (
    RowsQuarantined,
    RunCancelled,
    RunEvent,
    RunFailed,
    RunFinished,
    RunPartial,
    RunSubmitted,
    RunSucceeded,
)
from breakbulk.pyramid.events import Subscribers, events_of
from tests.support.declared import job_of, registered

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from tests.unit.pyramid.conftest import Configure

_SESSION = cast("Session", object())
_RECORD = cast(
    "Any",
    SimpleNamespace(
        id=7,
        job="prices",
        round=1,
        submitted_at=datetime(2026, 1, 1, tzinfo=UTC),
        submitted_by="ann",
        reason="because",
        parameters={"rate": 2},
        queue="celery",
        status=RunStatus.RUNNING,
    ),
)
_SUMMARY = Summary(1, 0, 0, 1, 0, 0, 1.0)


def ended(status: RunStatus, quarantined: int = 0) -> FinishedRun:
    run = FinishedRun(
        _RECORD, _SUMMARY, _SESSION, outcome=status, attempt=1, quarantined=quarantined
    )
    run.request = "a request"
    return run


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (RunStatus.SUCCEEDED, RunSucceeded),
        (RunStatus.PARTIAL, RunPartial),
        (RunStatus.FAILED, RunFailed),
        (RunStatus.CANCELLED, RunCancelled),
    ],
)
def test_each_end_has_its_event(status: RunStatus, kind: type[RunFinished]) -> None:
    run = ended(status)
    [event] = events_of(run)
    assert type(event) is kind
    assert event.run is run
    assert (event.job, event.session, event.request) == ("prices", _SESSION, "a request")
    assert repr(event) == f"<{kind.__name__} 7 of prices>"


def test_a_submit_has_its_event() -> None:
    run = SubmittedRun(_RECORD, _SESSION)
    [event] = events_of(run)
    assert type(event) is RunSubmitted
    assert (event.run.id, event.run.submitted_by, event.run.parameters) == (7, "ann", {"rate": 2})


def test_rows_in_quarantine_are_told_first() -> None:
    rows, end = events_of(ended(RunStatus.PARTIAL, quarantined=3))
    assert isinstance(rows, RowsQuarantined)
    assert rows.count == 3
    assert isinstance(end, RunPartial)


def test_subscribers_hear_what_they_subscribe_to(configure: Configure) -> None:
    heard: list[tuple[str, str]] = []

    def hear(name: str) -> Any:
        return lambda event: heard.append((name, type(event).__name__))

    config = configure()
    job = registered(job_of(), name="prices").cls
    config.add_subscriber(hear("one"), RunSucceeded)
    config.add_subscriber(hear("any end"), RunFinished)
    config.add_subscriber(hear("all"), RunEvent)
    config.add_subscriber(hear("its own"), RunSucceeded, breakbulk_job=job)
    config.add_subscriber(hear("its own"), RunSucceeded, breakbulk_job="prices")
    config.add_subscriber(hear("another's"), RunSucceeded, breakbulk_job="stock")
    config.commit()
    tell = Subscribers(config.registry)
    tell(SubmittedRun(_RECORD, _SESSION))
    assert heard == [("all", "RunSubmitted")]
    heard.clear()
    tell(ended(RunStatus.SUCCEEDED))
    assert sorted(heard) == [
        ("all", "RunSucceeded"),
        ("any end", "RunSucceeded"),
        ("its own", "RunSucceeded"),
        ("its own", "RunSucceeded"),
        ("one", "RunSucceeded"),
    ]
    heard.clear()
    tell(ended(RunStatus.FAILED))
    assert sorted(heard) == [("all", "RunFailed"), ("any end", "RunFailed")]


def test_a_subscriber_that_raises_is_heard(configure: Configure) -> None:
    def refuse(_event: RunSucceeded) -> None:
        raise LookupError("no ear")

    config = configure()
    config.add_subscriber(refuse, RunSucceeded)
    config.commit()
    with pytest.raises(LookupError, match="no ear"):
        Subscribers(config.registry)(ended(RunStatus.SUCCEEDED))


def test_what_is_no_job_cannot_be_subscribed_to(configure: Configure) -> None:
    config = configure()
    config.add_subscriber(lambda _event: None, RunSucceeded, breakbulk_job=dict)
    with pytest.raises(ConfigurationError, match="breakbulk_job=<class 'dict'> is not a job"):
        config.commit()


def test_pyramids_decorator_takes_them() -> None:
    def hear(event: RunSucceeded) -> None: ...

    subscriber(RunSucceeded, breakbulk_job="prices")(hear)
    assert hasattr(hear, "__venusian_callbacks__")
