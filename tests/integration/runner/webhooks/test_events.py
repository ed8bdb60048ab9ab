"""Events are written once, with what makes them true, for whoever asked for them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy.orm import Session

from breakbulk import CancelRun, RunStatus
from breakbulk.domain.webhook import DeliveryStatus
from breakbulk.errors import (
    EndpointRefused,
    UnknownJob,
)
from tests.support.posting import Post, events
from tests.support.receiver import Receiver
from tests.support.yard import Goods, Yard, failing, statements, touch, wipe

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from breakbulk import Chunk


def bad(chunk: Chunk[Any]) -> None:
    """Two rows that always fail."""
    touch(chunk)
    chunk.session.flush()
    if {key[0] for key in chunk.row_keys} & {7, 17}:
        raise ValueError("a secret of row 7")


def cancelling(_chunk: Chunk[Any]) -> None:
    raise CancelRun("no more")


def breaking(_run: Any) -> None:
    raise ValueError("no mail today")


def test_a_run_from_its_submit_to_its_end(yard: Yard, outside: Receiver, sends: Post) -> None:
    registered = yard.bulk.webhooks.add(outside.url + "?a=b", by="ana")
    run = yard.run()
    sends.clear()
    submitted, succeeded = (one.verified(registered.secret) for one in outside.received)
    record = run.record()
    assert submitted["type"] == "run.submitted"
    assert submitted["data"] == {
        "run": run.id,
        "job": record.job,
        "status": "running",
        "reason": None,
        "round": 1,
        "summary": None,
        "submitted_at": submitted["data"]["submitted_at"],
        "submitted_by": record.submitted_by,
        "started_at": None,
        "finished_at": None,
    }
    assert succeeded["type"] == "run.succeeded"
    assert record.summary is not None
    assert succeeded["data"]["summary"] == record.summary.as_dict()
    assert succeeded["timestamp"].endswith("Z")
    first = outside.received[0]
    assert first.path == "/in?a=b"
    assert first.headers["content-type"] == "application/json"
    assert len({one.id for one in outside.received}) == 2
    assert [one.status for one in yard.bulk.webhooks.deliveries()] == [DeliveryStatus.DELIVERED] * 2


def test_every_way_to_stand_still_or_to_end(yard: Yard, outside: Receiver, sends: Post) -> None:
    registered = yard.bulk.webhooks.add(outside.url)
    yard.run(bad, max_retries=0)
    yard.run(cancelling)
    yard.run(finished=breaking, max_retries=0)
    yard.run(failing(99, 1), on_failure="stop", max_retries=0)
    paused = yard.submit(yard.job())
    paused.pause()
    yard.settle(paused)
    held = yard.submit(yard.job())
    with yard.transaction() as connection:
        yard.ledger.runs.move(
            connection, held.id, RunStatus.HELD, actor="lane", reason="disk full " * 200
        )
    sends.clear()
    told = outside.events(registered.secret)
    assert [one for one in told if one != "run.submitted"] == [
        "rows.quarantined",
        "run.partial",
        "run.cancelled",
        "run.failed",
        "run.failed",
        "run.paused",
        "run.held",
    ]
    messages = [one.verified(registered.secret)["data"] for one in outside.received]
    assert next(one for one in messages if "quarantined" in one)["quarantined"] == 2
    assert max(len(one["reason"] or "") for one in messages) < 510
    assert max(len(one.body) for one in outside.received) < 2_000


def test_rows_in_quarantine_are_told_once_a_round(
    yard: Yard, outside: Receiver, sends: Post
) -> None:
    registered = yard.bulk.webhooks.add(outside.url, events=["rows.quarantined"])
    run = yard.run(bad, max_retries=0)
    run.retry()
    yard.settle(run)
    sends.clear()
    told = [one.verified(registered.secret)["data"] for one in outside.received]
    assert [(one["round"], one["quarantined"]) for one in told] == [(1, 2), (2, 2)]


def test_parameters_are_not_told(yard: Yard, outside: Receiver, sends: Post) -> None:
    yard.bulk.webhooks.add(outside.url)
    yard.settle(yard.bulk.submit(yard.job()(tag="hush")))
    sends.clear()
    assert len(outside.received) == 2
    assert "hush" not in "".join(one.body for one in outside.received)


def test_only_what_is_asked_for(yard: Yard, outside: Receiver, sends: Post) -> None:
    mine, other = yard.job(), yard.job()
    one = yard.bulk.webhooks.add(outside.url, job=mine)
    two = yard.bulk.webhooks.add(outside.url, job=other.__name__, events=["run.succeeded"])
    off = yard.bulk.webhooks.add(outside.url)
    yard.bulk.webhooks.disable(off.endpoint.id)
    yard.settle(yard.submit(mine), yard.submit(other))
    sends.clear()
    by_endpoint = {
        endpoint.endpoint.id: [
            log.event for log in yard.bulk.webhooks.deliveries(endpoint=endpoint.endpoint.id)
        ]
        for endpoint in (one, two, off)
    }
    assert by_endpoint == {
        one.endpoint.id: ["run.succeeded", "run.submitted"],
        two.endpoint.id: ["run.succeeded"],
        off.endpoint.id: [],
    }
    with pytest.raises(UnknownJob):
        yard.bulk.webhooks.add(outside.url, job="nonsense")
    with pytest.raises(EndpointRefused, match=r"no event 'run.started'; there are run.submitted,"):
        yard.bulk.webhooks.add(outside.url, events=["run.started"])


def test_nobody_who_listens_costs_nothing(yard: Yard) -> None:
    with statements(yard.engine) as seen:
        yard.run(bad, max_retries=0)
    ours = re.compile(r"\bbreakbulk[._](events|deliveries|links|tries|endpoints)\b")
    runs = re.compile(r"(UPDATE|INSERT INTO) breakbulk[._]runs\b")
    # Whether somebody listens is told by the statements that there were before.
    about = [one for one in seen if ours.search(one)]
    assert len(about) >= 3
    assert [one for one in about if not runs.match(one)] == []
    assert not events(yard)


def test_an_event_is_rolled_back_with_what_it_tells_of(yard: Yard, outside: Receiver) -> None:
    yard.bulk.webhooks.add(outside.url)
    with Session(yard.engine) as session:
        yard.bulk.submit(yard.job()(), session=session)
        session.rollback()
    assert not events(yard)
    run = yard.submit(yard.job(finished=breaking, max_retries=1))
    yard.first_crew.work()
    assert run.status() is not RunStatus.SUCCEEDED
    assert "run.succeeded" not in events(yard), "its callback was rolled back"


def test_postgres_an_event_is_rolled_back_by_a_commit_that_is_refused(
    postgres_ground: Engine, outside: Receiver
) -> None:
    """The run has ended, somebody is told, and only then the database says no."""
    wipe(postgres_ground)
    yard = Yard(postgres_ground, rows=5, shared=True, webhook_allow="127.0.0.1")
    yard.bulk.webhooks.add(outside.url)

    def refused_at_commit(run: Any) -> None:
        run.session.add(Goods(id=900, shelf=901))

    run = yard.submit(yard.job(finished=refused_at_commit, max_retries=0))
    yard.first_crew.work()
    assert run.status() is RunStatus.FAILED
    assert events(yard) == ["run.submitted", "run.failed"]
    yard.close()
