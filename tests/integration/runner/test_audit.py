"""The audit names what is wrong with a run's chunks, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from sqlalchemy import delete, insert, select, update

from breakbulk import RunStatus
from breakbulk.domain.chunk import Bounds, Cut
from breakbulk.domain.keys import encode_key
from breakbulk.domain.status import ChunkStatus
from breakbulk.ledger.sql import clock
from tests.support.yard import Goods, failing

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection, Table

    from breakbulk import RunHandle
    from tests.support.yard import Yard


def widen(chunks: Table, connection: Connection) -> None:
    second = chunks.c.number == 2
    connection.execute(update(chunks).where(second).values(upto=encode_key((21,))))


def shrink(chunks: Table, connection: Connection) -> None:
    second = chunks.c.number == 2
    connection.execute(update(chunks).where(second).values(after=encode_key((12,))))


def lose_first(chunks: Table, connection: Connection) -> None:
    connection.execute(delete(chunks).where(chunks.c.number == 1))


def lose_middle(chunks: Table, connection: Connection) -> None:
    connection.execute(delete(chunks).where(chunks.c.number == 2))


def lose_last(chunks: Table, connection: Connection) -> None:
    connection.execute(delete(chunks).where(chunks.c.number == 3))


def lose_all(chunks: Table, connection: Connection) -> None:
    connection.execute(delete(chunks))


def overlap(chunks: Table, connection: Connection) -> None:
    row = connection.execute(select(chunks).where(chunks.c.number == 2)).mappings().one()
    connection.execute(insert(chunks).values({**row, "path": "1"}))


def reopen(chunks: Table, connection: Connection) -> None:
    second = chunks.c.number == 2
    connection.execute(update(chunks).where(second).values(status=str(ChunkStatus.CARVED)))


def fail(chunks: Table, connection: Connection) -> None:
    second = chunks.c.number == 2
    connection.execute(update(chunks).where(second).values(status=str(ChunkStatus.FAILED)))


def miscount(chunks: Table, connection: Connection) -> None:
    connection.execute(update(chunks).where(chunks.c.number == 2).values(rows=9))


WRONG: list[tuple[Callable[[Any, Any], None], str]] = [
    (widen, "chunk 3 ([20], [25]] does not begin where the chunk before it ends ([21])"),
    (shrink, "chunk 2 ([12], [20]] does not begin where the chunk before it ends ([10])"),
    (lose_first, "chunk 2 ([10], [20]] is the first, but does not begin at the start"),
    (lose_middle, "chunk 3 ([20], [25]] does not begin where the chunk before it ends ([10])"),
    (lose_last, "chunk 2 ([10], [20]] is the last, but the run goes up to [25]"),
    (lose_all, "there is no chunk at all, although the source was not empty"),
    (overlap, "chunk 2.1 ([10], [20]] does not begin where the chunk before it ends ([20])"),
    (reopen, "the run is succeeded, but a chunk is not finished"),
    (fail, "the run succeeded, but 1 of its chunks failed"),
    (miscount, "the run ended with 25 rows done, its chunks now add up to 24"),
]


@pytest.mark.parametrize(("spoil", "words"), WRONG, ids=[spoil.__name__ for spoil, _ in WRONG])
def test_what_is_wrong_is_named(
    yard: Yard, spoil: Callable[[Table, Connection], None], words: str
) -> None:
    handle = yard.run()
    assert handle.audit().clean
    with yard.transaction() as connection:
        spoil(yard.ledger.database.schema.chunks, connection)
    audit = handle.audit()
    assert not audit.clean
    assert any(words in finding for finding in audit.findings), audit.findings


def carved(yard: Yard, handle: RunHandle, *cuts: Cut, exhausts: bool) -> None:
    lane = yard.lane(handle)
    claims = yard.ledger.claims
    with yard.transaction() as connection:
        frontier = claims.frontier(connection, handle.id, lane.token)
        claims.carve(
            connection, handle.id, frontier, cuts, lane=0, owner=uuid4(), exhausts=exhausts
        )
        yard.ledger.lanes.leave(connection, lane.token)


@pytest.mark.parametrize("exhausts", [True, False])
def test_a_cancelled_run_of_which_nothing_was_done_is_clean(yard: Yard, exhausts: bool) -> None:
    handle = yard.submit(yard.job())
    carved(yard, handle, Cut(Bounds(None, (25 if exhausts else 10,)), 25), exhausts=exhausts)
    assert handle.cancel() is RunStatus.CANCELLED
    assert handle.audit().findings == ()


def test_a_run_that_goes_on_is_judged_as_far_as_it_is(yard: Yard) -> None:
    handle = yard.submit(yard.job())
    carved(yard, handle, Cut(Bounds(None, (10,)), 10), exhausts=False)
    audit = handle.audit()
    assert audit.clean
    assert "still running" in audit.notes[0]


@pytest.mark.parametrize("exhausts", [True, False])
def test_a_run_that_a_policy_stopped_is_not_compared_with_all_there_is(
    yard: Yard, exhausts: bool
) -> None:
    handle = yard.run(failing(9, 1), on_failure="stop", max_retries=0)
    assert handle.status() is RunStatus.FAILED
    if exhausts:
        schema = yard.ledger.database.schema
        with yard.transaction() as connection:
            connection.execute(update(schema.carves).values(exhausted_at=clock()))
            connection.execute(
                insert(schema.chunks).values(
                    run_id=handle.id,
                    number=9,
                    path="",
                    status=str(ChunkStatus.CANCELLED),
                    after=handle.chunks()[-1].upto,
                    upto="[25]",
                    rows=5,
                    rows_upto=25,
                    attempt=1,
                )
            )
    audit = handle.audit()
    assert audit.clean, audit.findings
    assert audit.notes == ()


def test_the_figures_of_an_ended_run_stay_as_they_are(yard: Yard) -> None:
    handle = yard.run()
    ended = clock(-1000)
    runs = yard.ledger.database.schema.runs
    with yard.transaction() as connection:
        connection.execute(update(runs).values(submitted_at=clock(-1007), finished_at=ended))
    assert handle.audit().counted.seconds == pytest.approx(7, abs=1)


def test_rows_that_changed_since_are_noted_and_no_finding(yard: Yard) -> None:
    handle = yard.run()
    with yard.engine.begin() as connection:
        connection.execute(delete(Goods).where(Goods.id == 7))
    audit = handle.audit()
    assert audit.clean
    assert "24 rows up to the run's last key now, the run walked 25" in audit.notes[0]
