"""Batches, their end, and transactions: what is stored is stored once."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from breakbulk import Items, RunStatus
from breakbulk.errors import (
    SourceError,
)
from tests.support.producing import up_to
from tests.support.waiting import wait_for
from tests.support.yard import Boom, Notice, Yard

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection


def waits_for_lock(yard: Yard) -> bool:
    """Whether somebody waits for a lock."""
    query = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    with yard.engine.connect() as connection:
        return bool(connection.execute(text(query)).scalar())


class Lost:
    """A database whose COMMIT gets through once while its answer does not."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, yard: Yard) -> None:
        self._transaction = yard.runtime.database.transaction
        self.due = False
        self.happened = 0
        monkeypatch.setattr(yard.runtime.database, "transaction", self.transaction)

    @contextmanager
    def transaction(self, *arguments: Any, **options: Any) -> Iterator[Connection]:
        """The real one, and then an error."""
        with self._transaction(*arguments, **options) as connection:
            yield connection
        if self.due:
            self.due = False
            self.happened += 1
            raise OperationalError("COMMIT", {}, Exception("gone"), connection_invalidated=True)


@pytest.mark.parametrize("at", [4, 5, 9], ids=["a batch", "another", "the end"])
def test_a_commit_whose_answer_was_lost_is_not_done_twice(
    yard: Yard, seen: list[Any], note: Any, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    lost = Lost(monkeypatch, yard)

    def produce() -> Iterator[int]:
        for number in range(10):
            lost.due |= number == at
            yield number
        lost.due |= at == 9

    handle = yard.submit(yard.job(note, source=lambda: Items(produce())))
    assert lost.happened
    yard.settle(handle)
    assert seen == list(range(10))
    assert yard.notices() == ["succeeded 10"]
    assert handle.audit().notes == ()


def test_postgres_the_end_waits_for_whoever_has_the_carve_row(
    postgres_yard: Yard, note: Any
) -> None:
    """Else a run might be resumed as one that is loading, right after its end."""
    yard = postgres_yard
    reached, go = threading.Event(), threading.Event()

    def produce() -> Iterator[int]:
        yield 1
        reached.set()
        assert go.wait(60)

    job = yard.job(note, source=lambda: Items(produce()))
    submit = threading.Thread(target=lambda: yard.submit(job))
    submit.start()
    assert reached.wait(60)
    handle = yard.bulk.run(yard.bulk.runs()[0].id)
    with yard.transaction() as connection:
        yard.ledger.claims.lock(connection, handle.id)
        go.set()
        wait_for(lambda: waits_for_lock(yard), message="the end to wait")
        assert handle.status() is RunStatus.LOADING
    submit.join(60)
    assert handle.status() is RunStatus.RUNNING


def test_in_the_callers_transaction_nothing_runs_before_its_commit(
    yard: Yard, seen: list[Any], note: Any
) -> None:
    with Session(yard.engine) as session:
        session.add(Notice(run=0, words="with it"))
        handle = yard.submit(yard.job(note, source=lambda: Items(up_to(23))), session=session)
        if yard.runtime.database.is_postgresql:
            assert yard.count("items") == yard.count("runs") == 0
        session.commit()
    assert handle.status() is RunStatus.RUNNING
    yard.settle(handle)
    assert seen == list(range(23))
    assert yard.notices() == ["with it", "succeeded 23"]


def test_a_rollback_of_the_callers_transaction_leaves_nothing(yard: Yard, note: Any) -> None:
    with Session(yard.engine) as session:
        yard.submit(yard.job(note, source=lambda: Items(up_to(23))), session=session)
        session.rollback()
    assert yard.count("items") == yard.count("runs") == yard.count("loads") == 0


def test_an_error_leaves_nothing_in_the_callers_transaction(yard: Yard, note: Any) -> None:
    """Not even if the caller catches it and commits."""
    with Session(yard.engine) as session:
        session.add(Notice(run=0, words="before"))
        session.flush()
        with pytest.raises(Boom):
            yard.submit(yard.job(note, source=lambda: Items(up_to(23, Boom()))), session=session)
        session.add(Notice(run=0, words="after"))
        session.commit()
    assert yard.notices() == ["before", "after"]
    assert yard.count("items") == yard.count("runs") == yard.count("loads") == 0
    assert yard.count("activity") == yard.count("carves") == 0


def test_going_on_in_the_callers_transaction(yard: Yard, seen: list[Any], note: Any) -> None:
    sources = [up_to(12, Boom()), up_to(20)]
    job = yard.job(note, source=lambda: Items(sources.pop(0)))
    with pytest.raises(SourceError):
        yard.submit(job, idempotency_key="k")
    with Session(yard.engine) as session:
        handle = yard.submit(job, idempotency_key="k", session=session)
        session.commit()
    assert handle.status() is RunStatus.RUNNING
    yard.settle(handle)
    assert seen == list(range(20))
