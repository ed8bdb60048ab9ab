"""Mark and COMMIT in one message: nothing is committed without the mark, and it is known when."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from psycopg import OperationalError
from sqlalchemy import event, text, update

from breakbulk import Chunk, RunStatus
from breakbulk.domain.status import ChunkStatus
from breakbulk.errors import LostClaim, TransactionMisuse
from breakbulk.ledger.driver import answers_to, prepared_in
from breakbulk.ledger.lastword import LastWord
from breakbulk.runner.attempt import Tally, Work, settled
from breakbulk.runner.carve import carve
from breakbulk.runner.origin import source_of
from tests.support.preparing import unprepared
from tests.support.waiting import wait_for
from tests.support.yard import Goods, together, touch

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from breakbulk import RunHandle
    from breakbulk.domain.chunk import Claim
    from tests.support.yard import Yard


def driver_of(chunk: Chunk[Any]) -> Any:
    """Psycopg's own connection."""
    return chunk.session.connection().connection.driver_connection


class Lane:
    """One chunk in the hands of a lane, to be attempted from outside."""

    def __init__(self, yard: Yard, handle: RunHandle) -> None:
        self.yard, self.run = yard, handle.record()
        spec = yard.bulk.jobs.get(self.run.job)
        self.job = spec.build(self.run.parameters)
        self.source = source_of(yard.runtime, spec, self.job, self.run)
        with yard.runtime.database.connect() as connection:
            (self.claim,) = carve(
                yard.runtime,
                connection,
                connection,
                run=self.run,
                lane=yard.lane(handle),
                source=self.source,
                chunks=1,
                owner=uuid4(),
            ).claims

    def attempt(self, claim: Claim | None = None) -> RunStatus | None:
        work = Work(self.yard.runtime, self.run, self.job, self.source, 0, Tally())
        with self.yard.runtime.database.connect() as connection:
            self.yard.ledger.chunks.last_word.prepare(connection)
            return work.attempt(connection, connection, claim or self.claim)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The chunks that were ended with a last word."""
    numbers: list[int] = []
    say = LastWord.say

    def noted(self: LastWord, connection: Connection, ref: Any, *rest: Any) -> RunStatus | None:
        numbers.append(ref.number)
        return say(self, connection, ref, *rest)

    monkeypatch.setattr(LastWord, "say", noted)
    return numbers


def test_every_chunk_ends_with_it(postgres_yard: Yard, said: list[int]) -> None:
    postgres_yard.assert_proper(postgres_yard.run(touch))
    assert sorted(said) == [1, 2, 3]


def test_of_copies_of_one_lane_one_commits(postgres_yard: Yard, said: list[int]) -> None:
    yard = postgres_yard
    lane = Lane(yard, yard.submit(yard.job()))
    results = together(*[lane.attempt] * 3)
    assert sorted(type(one).__name__ for one in results) == ["LostClaim", "LostClaim", "RunStatus"]
    assert said == [1, 1, 1]
    assert list(yard.versions().values()) == [1] * 10 + [0] * 15


def test_a_chunk_that_was_taken_over_is_not_committed(postgres_yard: Yard, said: list[int]) -> None:
    yard = postgres_yard
    lane = Lane(yard, yard.submit(yard.job()))
    chunks = yard.ledger.database.schema.chunks
    with yard.transaction() as connection:
        connection.execute(update(chunks).values(owner=uuid4()))
    with pytest.raises(LostClaim):
        lane.attempt()
    assert said == [1]
    assert set(yard.versions().values()) == {0}


def test_another_transaction_than_the_one_that_was_begun_is_not_committed(
    postgres_yard: Yard, said: list[int]
) -> None:
    yard = postgres_yard

    def process(chunk: Chunk[Goods]) -> None:
        driver_of(chunk).commit()
        touch(chunk)

    lane = Lane(yard, yard.submit(yard.job(process)))
    with pytest.raises(TransactionMisuse, match="was ended before the code"):
        lane.attempt()
    assert said == [1]
    assert set(yard.versions().values()) == {0}
    assert [row["status"] for row in yard.rows_of("chunks")] == [str(ChunkStatus.CARVED)]


@pytest.mark.parametrize("happened", [True, False])
def test_a_connection_that_is_cut_meanwhile_is_settled(
    postgres_yard: Yard, monkeypatch: pytest.MonkeyPatch, happened: bool
) -> None:
    yard = postgres_yard
    armed: list[bool] = []

    def cut(driver: Any, message: str) -> list[Any]:
        if not armed or not message.endswith("COMMIT"):
            return answers_to(driver, message)
        armed.pop()
        if happened:
            answers_to(driver, message)
        driver.close()
        raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr("breakbulk.ledger.lastword.answers_to", cut)
    tries: Counter[int] = Counter()

    def process(chunk: Chunk[Goods]) -> None:
        tries[chunk.number] += 1
        touch(chunk)
        if chunk.number == 2 and tries[2] == 1:
            armed.append(True)

    handle = yard.run(process, max_retries=0)
    yard.assert_proper(handle)
    assert tries[2] == (1 if happened else 2)
    assert not armed
    assert handle.failures() == []
    assert sum(row["rows"] for row in yard.rows_of("tallies")) == 25
    yard.engine.dispose()


def test_one_that_is_still_on_its_way_is_waited_for(postgres_yard: Yard) -> None:
    """It has not locked the chunk's row yet, but its transaction has the chunk's name."""
    yard = postgres_yard
    lane = Lane(yard, yard.submit(yard.job()))
    claim, chunks = lane.claim, yard.ledger.chunks
    answer: list[bool] = []

    def settle() -> None:
        with yard.runtime.database.connect() as connection:
            answer.append(settled(yard.runtime, connection, claim))

    with yard.engine.connect() as old:
        chunks.last_word.prepare(old)
        with old.begin():
            seal = chunks.begin(old, claim.ref)
            asking = threading.Thread(target=settle)
            asking.start()
            wait_for(lambda: waits(yard) or answer, message="the question to wait")
            assert answer == []
            chunks.last_word.say(old, claim.ref, claim.owner, 1.0, seal)
    asking.join(timeout=60)
    assert answer == [True]


def waits(yard: Yard) -> bool:
    """Whether a session waits for a chunk's name."""
    query = text(
        "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database"
        " WHERE datname = current_database() AND locktype = 'advisory' AND NOT granted"
    )
    with yard.engine.connect() as connection:
        return bool(connection.execute(query).scalar_one())


def test_a_commit_that_is_refused_is_told_as_ever(postgres_yard: Yard, said: list[int]) -> None:
    yard = postgres_yard

    def process(chunk: Chunk[Goods]) -> None:
        touch(chunk)
        if chunk.number == 2:
            # Checked at COMMIT only.
            chunk.session.execute(update(Goods).where(Goods.id == 11).values(shelf=4711))

    handle = yard.run(process, max_retries=0, on_failure="skip")
    assert 2 in said
    assert {failure.error for failure in handle.failures()} == {"sqlalchemy.exc.IntegrityError"}
    assert {number for number, version in yard.versions().items() if version == 0} == set(
        range(11, 21)
    )


def savepoint(chunk: Chunk[Goods]) -> None:
    nested = chunk.session.begin_nested()
    nested.rollback()


def dropped(chunk: Chunk[Goods]) -> None:
    chunk.session.execute(text("CREATE TEMPORARY TABLE aside (n integer)"))
    chunk.session.execute(text("DROP TABLE aside"))


@pytest.mark.parametrize("forget", [savepoint, dropped])
def test_what_psycopg_throws_away_is_not_missed(
    postgres_yard: Yard, forget: Callable[[Chunk[Goods]], None]
) -> None:
    tries: Counter[int] = Counter()

    def process(chunk: Chunk[Goods]) -> None:
        tries[chunk.number] += 1
        touch(chunk)
        if chunk.number == 2:
            forget(chunk)

    postgres_yard.assert_proper(postgres_yard.run(process, max_retries=0))
    assert set(tries.values()) == {1}


def test_what_is_forgotten_behind_our_backs_costs_another_try_at_once(
    postgres_yard: Yard, said: list[int]
) -> None:
    tries: Counter[int] = Counter()

    def process(chunk: Chunk[Goods]) -> None:
        tries[chunk.number] += 1
        touch(chunk)
        if tries == {1: 1}:
            names = prepared_in(driver_of(chunk))
            assert names
            driver_of(chunk).pgconn.exec_(b"DEALLOCATE ALL")

    handle = postgres_yard.run(process, max_retries=0)
    postgres_yard.assert_proper(handle)
    assert tries == {1: 2, 2: 1, 3: 1}
    assert said == [1]
    assert handle.failures() == []


def test_it_is_not_said_where_others_listen_to_the_commit(
    postgres_yard: Yard, said: list[int]
) -> None:
    """What they do then belongs to the chunk's transaction."""
    engine = postgres_yard.engine
    event.listen(engine, "commit", _listen)
    try:
        postgres_yard.assert_proper(postgres_yard.run(touch))
    finally:
        event.remove(engine, "commit", _listen)
    assert said == []


def _listen(_connection: object) -> None:
    pass


def test_where_nothing_is_prepared_they_go_separately(postgres_yard: Yard, said: list[int]) -> None:
    with unprepared(postgres_yard.engine):
        postgres_yard.assert_proper(postgres_yard.run(touch))
    assert said == []


def test_separately_another_transaction_is_not_committed_either(
    postgres_yard: Yard, said: list[int]
) -> None:
    def process(chunk: Chunk[Goods]) -> None:
        driver_of(chunk).commit()
        touch(chunk)

    with unprepared(postgres_yard.engine):
        handle = postgres_yard.run(process)
    assert handle.status() is RunStatus.HELD
    assert said == []
    assert set(postgres_yard.versions().values()) == {0}
