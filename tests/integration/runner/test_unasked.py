"""Chunks whose code asks for no session are in no transaction, on PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from sqlalchemy import text, update

from breakbulk import Chunk, RunStatus
from breakbulk.errors import NothingAtWork
from tests.support.keeping import lose_answer
from tests.support.yard import Boom, Goods, Yard

if TYPE_CHECKING:
    from collections.abc import Callable

_STATES = text(
    "SELECT state FROM pg_stat_activity WHERE datname = current_database()"
    " AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
)


def states(yard: Yard) -> list[str]:
    """What all other sessions of the yard's database are at."""
    with yard.engine.connect() as own:
        return [state for (state,) in own.execute(_STATES)]


@pytest.mark.parametrize(
    ("ask", "open_after"),
    [
        (lambda chunk: (chunk.number, chunk.bounds, chunk.where, chunk.attempt, chunk.run), False),
        (lambda chunk: chunk.session, True),
        (lambda chunk: next(iter(chunk)), True),
        (lambda chunk: next(chunk.row_keys), True),
    ],
    ids=["nothing", "session", "rows", "keys"],
)
def test_postgres_a_transaction_is_begun_by_who_asks_for_one(
    postgres_yard: Yard, ask: Callable[[Chunk[Goods]], object], *, open_after: bool
) -> None:
    seen: list[list[str]] = []

    def process(chunk: Chunk[Goods]) -> None:
        seen.append(states(postgres_yard))
        ask(chunk)
        seen.append(states(postgres_yard))

    handle = postgres_yard.run(process, chunk_size=100)
    assert handle.status() is RunStatus.SUCCEEDED
    before, after = seen
    assert "idle in transaction" not in before
    assert ("idle in transaction" in after) is open_after
    assert handle.audit().clean


def test_what_is_raised_before_anything_is_asked_is_a_failure_as_any(yard: Yard) -> None:
    tries: list[int] = []

    def process(chunk: Chunk[Goods]) -> None:
        tries.append(chunk.attempt)
        if len(tries) == 1:
            raise Boom("not yet")
        for row in chunk:
            row.version += 1

    handle = yard.run(process, chunk_size=100, max_retries=1, retry_delay=0)
    assert handle.status() is RunStatus.SUCCEEDED
    assert tries == [1, 2]
    assert set(yard.versions().values()) == {1}


def test_postgres_who_was_overtaken_marks_nothing(postgres_yard: Yard) -> None:
    yard = postgres_yard
    chunks = yard.ledger.database.schema.chunks

    def process(_chunk: Chunk[Goods]) -> None:
        with yard.transaction() as other:
            other.execute(update(chunks).values(owner=uuid4()))

    handle = yard.submit(yard.job(process, chunk_size=100))
    yard.first_crew.work()
    assert handle.status() is RunStatus.RUNNING
    assert handle.progress().rows_done == 0


@pytest.mark.parametrize("written", [True, False])
def test_postgres_a_mark_whose_answer_was_lost_is_settled(
    postgres_yard: Yard, monkeypatch: pytest.MonkeyPatch, *, written: bool
) -> None:
    lose_answer(monkeypatch, written=written)
    tries: list[int] = []
    handle = postgres_yard.run(lambda chunk: tries.append(chunk.number))
    assert handle.status() is RunStatus.SUCCEEDED
    assert tries == ([1, 2, 3] if written else [1, 1, 2, 3])
    assert handle.audit().clean


def test_a_session_that_is_asked_for_too_late_is_refused(postgres_yard: Yard) -> None:
    left: list[Chunk[Goods]] = []
    handle = postgres_yard.run(left.append, chunk_size=100)
    assert handle.status() is RunStatus.SUCCEEDED
    with pytest.raises(NothingAtWork, match="has ended, and so has its session"):
        _ = left[0].session
