"""A team's own lock_timeout: who is refused what somebody else has locked tries again later."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import create_engine, text

from breakbulk import Chunk, RunStatus
from breakbulk.runner.ledger_thread import LedgerThread
from tests.support.waiting import wait_for
from tests.support.yard import Boom, Goods, Yard, touch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection

    from breakbulk import RunHandle

_LAST = 3
"""The yard's last chunk."""


@pytest.fixture
def hasty(postgres_url: str) -> Iterator[Yard]:
    """A yard whose sessions wait for no lock longer than a moment."""
    engine = create_engine(postgres_url, connect_args={"options": "-c lock_timeout=40ms"})
    yard = Yard(engine, rows=25)
    yield yard
    yard.close()


class Somebody:
    """Has rows of the ledger locked, in a session of their own."""

    def __init__(self, url: str) -> None:
        self._engine = create_engine(url)
        self._connection = self._engine.connect()

    def lock(self, table: str, handle: RunHandle) -> None:
        """Lock a run's row of a table."""
        key = "id" if table == "runs" else "run_id"
        statement = text(f"SELECT 1 FROM breakbulk.{table} WHERE {key} = :run FOR UPDATE")
        self._connection.execute(statement, {"run": handle.id})

    def let_go(self) -> None:
        """Unlock it."""
        self._connection.rollback()

    def close(self) -> None:
        """Leave."""
        self._connection.close()
        self._engine.dispose()


@pytest.fixture
def somebody(postgres_url: str) -> Iterator[Somebody]:
    other = Somebody(postgres_url)
    yield other
    other.close()


@contextmanager
def refused(caplog: pytest.LogCaptureFixture, somebody: Somebody) -> Iterator[None]:
    """What is begun here is refused something, until somebody lets go of it; no error is logged."""
    with caplog.at_level(logging.INFO, "breakbulk"):
        yield
        wait_for(lambda: "somebody is in the way" in caplog.text, message="a refusal")
        somebody.let_go()
    assert not [one for one in caplog.records if one.exc_info and one.exc_info[0] is not Boom]


def everything_done(yard: Yard) -> bool:
    return set(yard.versions().values()) == {1}


@pytest.mark.parametrize(
    "once",
    [lambda yard: yard.count("waiting") > 0, everything_done],
    ids=["claiming what waits", "closing the run"],
)
def test_postgres_a_lane_between_chunks_tries_again(
    hasty: Yard,
    somebody: Somebody,
    caplog: pytest.LogCaptureFixture,
    once: Callable[[Yard], bool],
) -> None:
    def process(chunk: Chunk[Goods]) -> None:
        touch(chunk)
        if chunk.number == _LAST and chunk.attempt == 1:
            raise Boom

    handle, acted = hasty.submit(hasty.job(process)), list[bool]()

    def stopping() -> bool:
        if not acted and once(hasty):
            acted.append(True)
            somebody.lock("carves", handle)
        return False

    crew = hasty.crew()
    with ThreadPoolExecutor() as pool, refused(caplog, somebody):
        lane = pool.submit(replace(crew, process=replace(crew.process, stopping=stopping)).work)
    lane.result()
    assert acted
    assert handle.status() is RunStatus.SUCCEEDED, "in that very stay"
    hasty.assert_proper(handle)


def test_postgres_a_failure_that_cannot_be_recorded_costs_another_try(
    hasty: Yard, somebody: Somebody, caplog: pytest.LogCaptureFixture
) -> None:
    tries: list[int] = []

    def process(chunk: Chunk[Goods]) -> None:
        touch(chunk)
        if chunk.number == _LAST and chunk.attempt == 1:
            if not tries:
                somebody.lock("carves", handle)
            tries.append(chunk.attempt)
            raise Boom

    handle = hasty.submit(hasty.job(process))
    crew = hasty.crew()
    with ThreadPoolExecutor() as pool, refused(caplog, somebody):
        lane = pool.submit(crew.work)
    lane.result()
    hasty.settle(handle)
    hasty.assert_proper(handle)
    assert len(tries) > 1
    assert len(handle.failures()) == 1


def test_postgres_a_lane_at_the_door_comes_again_later(
    hasty: Yard, somebody: Somebody, caplog: pytest.LogCaptureFixture
) -> None:
    handle = hasty.submit(hasty.job())
    crew = hasty.crew()
    somebody.lock("runs", handle)
    with refused(caplog, somebody):
        assert crew.work() is False
    wait_for(lambda: hasty.count("lanes") == 0, message="its place to be given up")
    hasty.settle(handle)
    hasty.assert_proper(handle)


def test_postgres_a_steward_does_what_can_be_done_for_the_others(
    hasty: Yard, somebody: Somebody, caplog: pytest.LogCaptureFixture
) -> None:
    crew = hasty.crew()
    first = hasty.submit(hasty.job())
    lane = hasty.lane(first)
    assert first.pause() is RunStatus.PAUSING
    with hasty.transaction() as connection:
        hasty.ledger.lanes.leave(connection, lane.token)
    second = hasty.submit(hasty.job())
    somebody.lock("carves", first)
    crew.sent.clear()
    with refused(caplog, somebody):
        crew.tick()
    assert crew.sent, "the other run got its lanes"
    assert first.status() is RunStatus.PAUSING
    crew.tick()
    assert first.status() is RunStatus.PAUSED
    hasty.settle(second)


def test_postgres_a_thread_that_is_refused_says_so_in_one_line(
    hasty: Yard, somebody: Somebody, caplog: pytest.LogCaptureFixture
) -> None:
    handle = hasty.submit(hasty.job())
    somebody.lock("carves", handle)

    class Refused(LedgerThread):
        def _work(self, connection: Connection) -> None:
            with hasty.runtime.database.transaction(connection):
                hasty.ledger.claims.lock(connection, handle.id)

    with caplog.at_level(logging.WARNING, "breakbulk"):
        Refused(hasty.runtime, name="refused", interrupted="it was interrupted")._visit()
    (said,) = caplog.records
    assert said.getMessage().startswith("it was interrupted: ")
    assert "lock timeout" in said.getMessage()
    assert said.exc_info is None
    somebody.let_go()
    hasty.settle(handle)
