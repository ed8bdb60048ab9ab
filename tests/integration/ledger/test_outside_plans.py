"""What webhooks, links, tokens and iterables ask for costs the same after any number of them."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from sqlalchemy import insert, literal, null, select, text, update

from breakbulk.domain.chunk import RunId
from breakbulk.domain.event import EventType
from breakbulk.domain.webhook import Answer
from breakbulk.ledger.deliveries import Order
from breakbulk.ledger.loads import Producer
from tests.support.plans import explained, instructions_of, read_by, statements_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from breakbulk import RunHandle
    from tests.support.yard import Yard

#: What was there before must not change plans.
NEW_FILES = True

MANY = 20_000
#: The most rows that any step of a statement may read: those of a page, or of what is swept.
MOST = 600
#: Of SQLite's machine; a look at each row of a table would take more than twice as many.
MOST_INSTRUCTIONS = 25_000
_PAST, _LATER = datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)


@pytest.fixture
def full(yard: Yard) -> RunHandle:
    """Many runs have ended and are told of; for two receivers everything waits for later."""
    run = yard.submit(yard.job())
    schema = yard.ledger.database.schema
    numbers = select(literal(1).label("n")).cte("numbers", recursive=True)
    numbers = numbers.union_all(select(numbers.c.n + 1).where(numbers.c.n < MANY))
    n = numbers.c.n
    many, its_run = n + 1_000, n + 1_000
    with yard.engine.begin() as connection:

        def fill(table: str, **values: Any) -> None:
            into = getattr(schema, table)
            chosen = [
                value if hasattr(value, "label") else literal(value, into.c[name].type)
                for name, value in values.items()
            ]
            connection.execute(
                insert(into).from_select(list(values), select(*chosen).select_from(numbers))
            )

        ended = {"id": many, "status": "succeeded", "finished_at": _PAST, "slot": null()}
        kept = [column for column in schema.runs.c if column.name not in ended]
        old = select(*kept).where(schema.runs.c.id == run.id).cte("old")
        connection.execute(
            insert(schema.runs).from_select(
                [*ended, *(column.name for column in kept)],
                select(
                    many,
                    literal("succeeded"),
                    literal(_PAST, schema.runs.c.finished_at.type),
                    null(),
                    *old.c,
                ).select_from(numbers.join(old, literal(True))),
            )
        )
        endpoint = {"url": "https://a.test/", "secret": "s", "enabled": True, "created_at": _PAST}
        connection.execute(insert(schema.endpoints), [endpoint] * 3)
        delivery = {"event_id": n, "run_id": its_run, "created_at": _PAST, "tries": 1}
        waiting = {**delivery, "status": "waiting", "not_before": _LATER}
        fill(
            "events", run_id=its_run, type="run.succeeded", at=_LATER, message_id="m", payload="{}"
        )
        fill("links", run_id=its_run, kind="link", signature="{}")
        fill(
            "deliveries",
            **delivery,
            endpoint_id=1,
            status="delivered",
            not_before=_PAST,
            ended_at=_PAST,
        )
        fill("deliveries", **waiting, endpoint_id=2)
        fill("deliveries", **waiting, link_id=n)
        fill("tries", delivery_id=n, at=_PAST, code=200, milliseconds=1)
        fill(
            "tokens",
            name="of old",
            can="view",
            digest="d",
            created_at=_PAST,
            created_by="ana",
            revoked_at=_PAST,
        )
        fill(
            "loads",
            run_id=its_run,
            host="h",
            pid=1,
            process_started=1.0,
            lease_until=_PAST,
            digest="",
            ended_at=_PAST,
        )
        fill("items", run_id=run.id, number=n, value="1")
        connection.execute(
            insert(schema.loads).values(
                run_id=run.id,
                producer=uuid4(),
                host="h",
                pid=1,
                process_started=1.0,
                lease_until=_PAST,
                digest="",
                loaded=MANY,
            )
        )
        connection.execute(
            update(schema.runs).where(schema.runs.c.id == run.id).values(status="loading")
        )
        fill("tallies", run_id=its_run, at=_PAST, lane=-1, chunks=1, rows=1)
        fill(
            "failure_tallies",
            run_id=its_run,
            error="Boom",
            attempts=1,
            chunks=1,
            first_at=_PAST,
            last_at=_PAST,
            failure_id=1,
            step=1,
        )
        fill("waiting", run_id=run.id, number=n, path="", not_before=_LATER)
        boom = {"error": "Boom", "message": "boom", "round": 1, "at": _PAST}
        fill("carves", run_id=its_run, exhausted_at=_PAST)
        fill(
            "quarantine",
            run_id=run.id,
            number=n,
            path="",
            key="[1]",
            attempts=1,
            **boom,
        )
        fill("failures", run_id=run.id, number=n, path="", attempt=1, **boom)
        fill("activity", run_id=run.id, at=_PAST, actor="ana", verb="noted")
    with yard.engine.connect() as connection:
        free = connection.execution_options(isolation_level="AUTOCOMMIT")
        free.execute(text("ANALYZE"))
    # SQLite reads what was found when a connection is opened.
    yard.engine.dispose()
    return run


_ORDER = Order(1, uuid4(), 1, 1, 1, "m", _PAST, "{}", None)
_ME = Producer(uuid4(), "h", 1, 1.0)

ACTS: dict[str, Callable[[Yard, Connection, Any], object]] = {
    "links due": lambda y, c, _: y.ledger.deliveries.links_due(c),
    "endpoints due": lambda y, c, _: y.ledger.endpoints.due(c, [3]),
    "claim of an endpoint": lambda y, c, _: y.ledger.deliveries.claim(c, 2, 60),
    "claim of a link": lambda y, c, _: y.ledger.deliveries.claim(c, None, 60),
    "note": lambda y, c, _: y.ledger.deliveries.note(c, _ORDER, Answer(1, code=200), wait=None),
    "note of a failure": lambda y, c, _: y.ledger.endpoints.went_wrong(c, 1, Answer(1, code=500)),
    "deliveries": lambda y, c, _: y.ledger.deliveries.page(c),
    "deliveries of a run": lambda y, c, _: y.ledger.deliveries.page(c, run_id=5_000),
    "deliveries of an endpoint": lambda y, c, _: y.ledger.deliveries.page(
        c, endpoint_id=2, before=30_000
    ),
    "deliveries of a silent endpoint": lambda y, c, _: y.ledger.deliveries.page(c, endpoint_id=3),
    "deliveries of both": lambda y, c, _: y.ledger.deliveries.page(c, run_id=1, endpoint_id=1),
    "deliveries further back": lambda y, c, _: y.ledger.deliveries.page(
        c, endpoint_id=2, before=20_100
    ),
    "events of a run": lambda y, c, _: y.ledger.deliveries.events(c, RunId(5_000), 20),
    "failures further back": lambda y, c, run: y.ledger.failures.latest(c, run, before=1_000),
    "quarantine further on": lambda y, c, run: y.ledger.quarantine.page(c, run, after=19_000),
    "activity further back": lambda y, c, run: y.ledger.reports.activity(c, run, before=1_000),
    "delivery": lambda y, c, _: y.ledger.deliveries.get(c, 1),
    "payload": lambda y, c, _: y.ledger.deliveries.payload(c, 1),
    "tries": lambda y, c, _: y.ledger.deliveries.tries(c, 1),
    "sweep of nothing": lambda y, c, _: y.ledger.deliveries.sweep(c, 60, 500),
    "replay": lambda y, c, _: y.ledger.outbox.again(c, 1),
    "an event": lambda y, c, run: y.ledger.outbox.tell(
        c, y.ledger.runs.get(c, run), EventType.PAUSED, _PAST
    ),
    "the end of a run": lambda y, c, _: y.ledger.outbox.tell(
        c, y.ledger.runs.get(c, RunId(5_000)), EventType.SUCCEEDED, _PAST
    ),
    "is it wanted?": lambda y, c, run: c.execute(select(y.ledger.outbox.wanted(run))).all(),
    "token": lambda y, c, _: y.ledger.tokens.find(c, 5_000),
    "token's use": lambda y, c, _: y.ledger.tokens.used(c, 5_000),
    "token's end": lambda y, c, _: y.ledger.tokens.revoke(c, "deployer"),
    "load": lambda y, c, run: y.ledger.loads.get(c, run),
    "loads that are lost": lambda y, c, _: y.ledger.loads.lost(c, uuid4(), 15),
    "reach of a load": lambda y, c, run: y.ledger.loads.reach(c, run),
    "batch": lambda y, c, run: y.ledger.loads.append(
        c, run, uuid4(), ["1"], after=MANY, digest="", lease_seconds=15
    ),
    "end of a load": lambda y, c, run: y.ledger.loads.end(c, run, uuid4(), MANY),
    "drop of a load": lambda y, c, run: y.ledger.loads.drop(c, run, uuid4(), error=None),
    "folding": lambda y, c, _: y.ledger.folding.fold(c, 60),
    "surplus lanes": lambda y, c, _: y.ledger.lanes.demand(c, {}),
    "free slots": lambda y, c, _: y.ledger.workers.free_slots(c),
}


def _with(
    act: Callable[[Yard, Connection, Any], object], yard: Yard, run: int, connection: Connection
) -> object:
    return act(yard, connection, run)


def test_nothing_that_is_asked_for_reads_all_there_is(yard: Yard, full: RunHandle) -> None:
    """One test for all of them, for the tables are filled only once."""
    too_much = []
    for name, act in ACTS.items():
        asks = partial(_with, act, yard, full.id)
        if yard.engine.dialect.name == "sqlite":
            if (taken := instructions_of(yard, asks)) > MOST_INSTRUCTIONS:
                too_much.append(f"{name}: {taken}")
            continue
        asked = statements_of(yard, asks)
        assert asked, name
        for plan, (statement, _) in zip(
            explained(yard, asked, "EXPLAIN (ANALYZE, TIMING OFF) "), asked, strict=True
        ):
            if read_by(plan) > MOST:
                too_much.append(f"{name}\n{statement}\n{plan}")
    assert not too_much, "\n\n".join(too_much)
