"""What was seen to go wrong before there was a guard, once more in the same order of things.

Those that are about one part of the house are beside it; `docs/explanation/proofs.md` lists all.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from sqlalchemy import delete, event, select, text, update

from breakbulk import RunStatus
from breakbulk.domain.chunk import Bounds, Cut
from breakbulk.ledger import lastword
from breakbulk.runner import steward as stewards
from breakbulk.runner.rescue import rescue
from breakbulk.sources import table_source
from tests.support.yard import Boom, Goods, Yard, touch

if TYPE_CHECKING:
    from collections.abc import Callable

    from breakbulk import Chunk
    from breakbulk.ledger.lanes import Lane


def test_postgres_an_undone_claim_is_carved_anew_with_other_bounds(postgres_yard: Yard) -> None:
    """A crash of the database undoes a claim that was not durable yet.

    Somebody else carves there meanwhile, under the same number and as the same attempt, but with
    another chunk size. Who has the claim in memory would work past the other's bounds.
    """
    yard = postgres_yard
    worked: list[Bounds] = []
    crashed: list[Bounds] = []
    others: list[Lane] = []

    def process(chunk: Chunk[Goods]) -> None:
        touch(chunk)
        chunk.session.flush()
        if crashed:
            worked.append(chunk.bounds)
            return
        crashed.append(chunk.bounds)
        pid = chunk.session.execute(text("SELECT pg_backend_pid()")).scalar_one()
        with yard.engine.connect() as connection:
            connection.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
        carve_anew()
        chunk.session.execute(text("SELECT 1"))

    def carve_anew() -> None:
        schema, claims = yard.ledger.database.schema, yard.ledger.claims
        others.append(yard.lane(handle, 1))
        with yard.transaction() as connection:
            claims.lock(connection, handle.id)
            connection.execute(delete(schema.chunks))
            connection.execute(update(schema.runs).values(chunk_size=4))
            frontier = claims.frontier(connection, handle.id, others[0].token)
            claims.carve(
                connection,
                handle.id,
                frontier,
                [Cut(Bounds(None, (4,)), 4)],
                lane=1,
                owner=uuid4(),
                exhausts=False,
            )

    handle = yard.submit(yard.job(process))
    yard.first_crew.work()
    assert crashed == [Bounds(None, (10,))]
    assert crashed[0] not in worked, "it is nobody's chunk any more"
    with yard.runtime.database.connect() as connection:
        assert rescue(yard.runtime, connection, others[0], why="the other has gone, too")
    yard.settle(handle)
    yard.assert_proper(handle)
    yard.engine.dispose()


def test_postgres_a_carve_whose_answer_was_lost_is_the_lanes_own(
    postgres_yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its COMMIT had happened: the lane finds its chunk by the token it had noted before."""
    from psycopg import OperationalError
    from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

    yard = postgres_yard
    monkeypatch.setattr(stewards, "_TIDY_EVERY", 0.0)
    commit: Callable[[Any, Any], None] = PGDialect_psycopg.do_commit
    carving, lost = threading.Event(), threading.Event()

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("INSERT INTO breakbulk.chunks"):
            carving.set()

    def do_commit(_dialect: Any, connection: Any) -> None:
        commit(yard.engine.dialect, connection)
        if carving.is_set() and not lost.is_set():
            lost.set()
            connection.driver_connection.close()
            raise OperationalError("server closed the connection unexpectedly")

    event.listen(yard.engine, "before_cursor_execute", note)
    monkeypatch.setattr(yard.engine.dialect, "do_commit", do_commit.__get__(yard.engine.dialect))
    try:
        handle = yard.run()
    finally:
        event.remove(yard.engine, "before_cursor_execute", note)
    assert lost.is_set()
    yard.assert_proper(handle)
    assert all(chunk.losses == 0 and chunk.attempt == 1 for chunk in handle.chunks())
    yard.engine.dispose()


@pytest.mark.parametrize("happened", [True, False])
def test_an_exit_amid_the_commit(
    yard: Yard, monkeypatch: pytest.MonkeyPatch, happened: bool
) -> None:
    """A cold shutdown raises SystemExit at any bytecode; nobody knows which side of the COMMIT."""
    # On PostgreSQL it goes in one message with the mark, so it is there that the exit has to come.
    target: Any = lastword if yard.runtime.database.is_postgresql else yard.engine.dialect
    name = "answers_to" if target is lastword else "do_commit"
    commit = getattr(target, name)
    tries: Counter[int] = Counter()
    stopping, exited = threading.Event(), threading.Event()

    def process(chunk: Chunk[Goods]) -> None:
        tries[chunk.number] += 1
        touch(chunk)
        if chunk.number == 2 and not stopping.is_set():
            stopping.set()
            monkeypatch.setattr(target, name, exits)

    def exits(*said: Any) -> None:
        monkeypatch.setattr(target, name, commit)
        assert target is not lastword or said[1].endswith("COMMIT")
        if happened:
            commit(*said)
        exited.set()
        raise SystemExit

    handle = yard.submit(yard.job(process, max_retries=0))
    crew = yard.crew()
    dying = replace(crew, process=replace(crew.process, stopping=stopping.is_set))
    with pytest.raises(SystemExit):
        dying.work()
    assert exited.is_set()
    assert yard.count("lanes") == 0
    yard.settle(handle)
    yard.assert_proper(handle)
    assert tries[2] == (1 if happened else 2)
    assert handle.failures() == []


def test_rows_that_move_ahead_of_the_frontier(yard: Yard) -> None:
    """The Halloween problem: walked by what process() raises, rows are met again and again."""
    with yard.engine.begin() as connection:
        connection.execute(update(Goods).values(version=Goods.id))

    def process(chunk: Chunk[Goods]) -> None:
        for row in chunk:
            row.version += 3

    handle = yard.run(process, source=lambda: table_source(select(Goods), key=Goods.version))
    assert handle.status() is RunStatus.HELD
    assert "process() changes goods.version" in str(handle.record().reason)
    assert yard.versions() == {number: number for number in range(1, 26)}


def test_the_key_of_a_row_is_the_same_in_every_attempt_half_and_round(yard: Yard) -> None:
    """A mail server that deduplicates by it writes once; another run is another matter."""
    keys: dict[int, list[str]] = defaultdict(list)
    bad = {17}

    def process(chunk: Chunk[Goods]) -> None:
        for row in chunk:
            keys[row.id].append(chunk.key_for(row))
        touch(chunk)
        if bad & {row.id for row in chunk}:
            raise Boom

    job = yard.job(process, max_retries=1)
    handle = yard.submit(job)
    yard.settle(handle)
    assert handle.status() is RunStatus.PARTIAL
    bad.clear()
    handle.retry()
    yard.settle(handle)
    assert handle.status() is RunStatus.SUCCEEDED
    assert min(len(given) for given in keys.values()) == 1
    assert len(keys[17]) > 5, "two attempts, four halves, alone once more, and a round"
    assert all(len(set(given)) == 1 for given in keys.values())
    assert len({given[0] for given in keys.values()}) == 25
    first = {given[0] for given in keys.values()}
    keys.clear()
    yard.settle(yard.submit(job))
    assert not first & {given[0] for given in keys.values()}
