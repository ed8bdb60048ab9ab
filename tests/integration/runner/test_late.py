"""Items of jobs that keep results are in no transaction of ours, unless their code asks for one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from psycopg.errors import SerializationFailure
from sqlalchemy import event, text, update

from breakbulk import RunStatus, current_chunk
from breakbulk.domain.verdict import Kept
from breakbulk.errors import NothingAtWork
from breakbulk.ledger.keptmarks import KeptMarks
from breakbulk.runner.late import LateUnit
from tests.support.keeping import kept, lose_answer, sent, submit
from tests.support.yard import Boom, Goods, Yard, statements

if TYPE_CHECKING:
    from breakbulk.runner.keeping import ItemChunk


def test_a_connection_of_its_own_writes_to_the_ledgers_database(yard: Yard) -> None:
    """SQLite has one writer, and it was the lane."""

    def process(chunk: ItemChunk) -> Kept:
        with yard.engine.begin() as own:
            own.execute(update(Goods).where(Goods.id == chunk.number).values(version=1))
        return Kept("1")

    handle = submit(yard, process)
    yard.settle(handle)
    assert handle.status() is RunStatus.SUCCEEDED
    assert [yard.versions()[number] for number in (1, 2, 3)] == [1, 1, 1]


def test_postgres_nobody_is_idle_in_a_transaction(postgres_yard: Yard) -> None:
    yard = postgres_yard
    seen: list[list[str]] = []
    query = text(
        "SELECT state FROM pg_stat_activity WHERE datname = current_database()"
        " AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
    )

    def states() -> list[str]:
        with yard.engine.connect() as own:
            return [state for (state,) in own.execute(query)]

    def process(chunk: ItemChunk) -> Kept:
        seen.append(states())
        if chunk.number == 2:
            assert chunk.session.in_transaction()
            seen.append(states())
        return Kept()

    yard.settle(submit(yard, process, count=2))
    first, second, asked = seen
    assert "idle in transaction" not in first + second
    assert asked.count("idle in transaction") == 1


def test_what_is_done_through_the_session_commits_with_the_mark(yard: Yard) -> None:
    tries: list[int] = []

    def process(chunk: ItemChunk) -> Kept:
        tries.append(chunk.number)
        row = current_chunk().session.get(Goods, chunk.number)
        assert row is not None
        row.version += 1
        if tries.count(chunk.number) == 1:
            raise Boom
        return Kept(json.dumps(chunk.number))

    handle = submit(yard, process, max_retries=1, retry_delay=0)
    yard.settle(handle)
    assert handle.status() is RunStatus.SUCCEEDED
    assert len(tries) == 6
    assert [yard.versions()[number] for number in (1, 2, 3)] == [1, 1, 1]
    assert len(kept(yard)) == 3


def test_the_session_of_an_item_that_has_ended_is_refused(yard: Yard) -> None:
    left: list[ItemChunk] = []

    def process(chunk: ItemChunk) -> Kept:
        left.append(chunk)
        return Kept()

    yard.settle(submit(yard, process, count=1))
    with pytest.raises(NothingAtWork, match="This part has ended"):
        _ = left[0].session


def test_who_swallows_that_there_is_no_session_has_not_done_its_work(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, tries = LateUnit._open, list[int]()

    def once(late: LateUnit) -> None:
        if len(tries) == 1:
            raise Boom("no session")
        opened(late)

    monkeypatch.setattr(LateUnit, "_open", once)

    def process(chunk: ItemChunk) -> Kept:
        tries.append(chunk.number)
        try:
            chunk.session.execute(text("SELECT 1"))
        except Boom:
            assert chunk.troubled
        return Kept()

    handle = submit(yard, process, count=1, max_retries=1, retry_delay=0)
    yard.settle(handle)
    assert handle.status() is RunStatus.SUCCEEDED
    assert tries == [1, 1]
    (failure,) = handle.failures()
    assert failure.message == "no session"


def test_postgres_what_was_overtaken_keeps_nothing(postgres_yard: Yard) -> None:
    yard = postgres_yard
    chunks = yard.ledger.database.schema.chunks

    def process(_chunk: ItemChunk) -> Kept:
        with yard.transaction() as other:
            other.execute(update(chunks).values(owner=uuid4()))
        return Kept("1")

    handle = submit(yard, process, count=1)
    yard.first_crew.work()
    assert kept(yard) == {}
    assert handle.status() is RunStatus.RUNNING


@pytest.mark.parametrize("written", [True, False])
def test_postgres_a_mark_whose_answer_was_lost_is_settled(
    postgres_yard: Yard, monkeypatch: pytest.MonkeyPatch, *, written: bool
) -> None:
    yard = postgres_yard
    lose_answer(monkeypatch, written=written)
    tries: list[int] = []

    def process(chunk: ItemChunk) -> Kept:
        tries.append(chunk.number)
        return Kept(json.dumps(len(tries)))

    handle = submit(yard, process, count=2)
    yard.settle(handle)
    assert handle.status() is RunStatus.SUCCEEDED
    assert tries == ([1, 2] if written else [1, 1, 2])
    assert handle.audit().clean
    assert handle.progress().rows_done == 2


def test_postgres_a_mark_that_another_transaction_was_in_the_way_of_is_said_again(
    postgres_yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mark(*_: Any) -> Any:
        raise SerializationFailure("could not serialize access")

    monkeypatch.setattr(KeptMarks, "mark_done", mark)
    tries: list[int] = []

    def process(chunk: ItemChunk) -> Kept:
        tries.append(chunk.number)
        return Kept("1")

    yard = postgres_yard
    yard.settle(submit(yard, process, count=2))
    assert tries == [1, 2]
    assert kept(yard) == {1: "1", 2: "1"}


def test_postgres_listeners_of_the_team_may_begin_a_transaction(postgres_yard: Yard) -> None:
    """Then the mark is not said apart from it."""
    yard = postgres_yard

    @event.listens_for(yard.engine, "checkout")
    def begin(connection: Any, _record: object, _proxy: object) -> None:
        connection.execute("SELECT 1")

    handle = submit(yard, lambda _chunk: Kept("1", outgoing=("mail",)), count=2)
    yard.settle(handle)
    event.remove(yard.engine, "checkout", begin)
    assert handle.status() is RunStatus.SUCCEEDED
    assert sent(yard) == ["mail", "mail"]


def test_postgres_what_an_item_sends_takes_three_statements_however_much_it_is(
    postgres_yard: Yard,
) -> None:
    yard = postgres_yard
    mails = tuple(f"mail {number}" for number in range(20))
    handle = submit(yard, lambda _chunk: Kept(outgoing=mails), count=1)
    with statements(yard.engine) as seen:
        yard.first_crew.work()
    written = [one for one in seen if one.startswith("INSERT")]
    of_mails = [one for one in written if "links" in one or "events" in one or "deliveries" in one]
    assert len(of_mails) == 3
    assert sent(yard) == list(mails)
    assert handle.status() is RunStatus.SUCCEEDED
