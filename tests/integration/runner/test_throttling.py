"""Runs that hold back: on what, for how long, and what is to be seen of it meanwhile."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text, update

from breakbulk import Chunk, RunHandle, RunStatus
from breakbulk.domain.throttling import Gauge, Reading, ThrottleState
from breakbulk.errors import ParameterError, StateError
from breakbulk.ledger.sql import clock
from breakbulk.runner.throttling import Throttling
from tests.support.waiting import wait_for
from tests.support.yard import Goods, Yard, touch

if TYPE_CHECKING:
    from collections.abc import Iterator

_FLAG = "SELECT name FROM flags WHERE up"


@pytest.fixture
def flags(yard: Yard) -> Iterator[Yard]:
    """A yard with a table that a team's own check looks at."""
    with yard.engine.begin() as connection:
        connection.execute(text("CREATE TABLE flags (name text, up boolean)"))
    yield yard
    with yard.engine.begin() as connection:
        connection.execute(text("DROP TABLE flags"))


def raise_flag(yard: Yard, name: str | None) -> None:
    with yard.engine.begin() as connection:
        connection.execute(text("DELETE FROM flags"))
        if name is not None:
            connection.execute(text("INSERT INTO flags VALUES (:name, true)"), {"name": name})


def look(yard: Yard) -> None:
    with yard.runtime.database.connect() as connection:
        Throttling(yard.runtime).look(connection)


def later(yard: Yard, seconds: float = 60.0) -> None:
    """Let whatever began or was set have been so long ago."""
    schema = yard.ledger.database.schema
    with yard.transaction() as connection:
        for column in (schema.throttles.c.since, schema.throttles.c.raised_at):
            statement = update(schema.throttles).where(column.is_not(None))
            connection.execute(statement.values({column.name: clock(-seconds)}))


def told(handle: RunHandle) -> list[tuple[str, str | None]]:
    """What the run's activity says of it, oldest first."""
    notes = [one for one in handle.activity() if one.verb in ("throttled", "unthrottled", "limits")]
    return [(one.verb, one.detail) for one in reversed(notes)]


def throttled(handle: RunHandle) -> str:
    return str(handle.progress().throttled)


def test_it_works_only_while_the_check_says_nothing(flags: Yard) -> None:
    raise_flag(flags, "the month is being closed")
    handle = flags.submit(flags.job(throttle_on=_FLAG))
    crew = flags.crew()
    assert throttled(handle) == "what it holds back on has not been looked at yet"
    crew.work()
    look(flags)
    crew.work()
    assert handle.progress().rows_done == 0
    assert throttled(handle).startswith("its check says: the month is being closed; since ")
    assert handle.status() is RunStatus.RUNNING
    assert handle.progress().waits is None
    raise_flag(flags, None)
    look(flags)
    assert handle.progress().holds_back, "for a few seconds at least"
    later(flags)
    look(flags)
    assert handle.progress().throttled is None
    flags.settle(handle)
    flags.assert_proper(handle)
    assert told(handle)[0] == ("throttled", "its check says: the month is being closed")
    assert told(handle)[1][0] == "unthrottled"


def test_a_lane_at_work_leaves_after_the_chunk_in_hand(flags: Yard) -> None:
    def process(chunk: Chunk[Goods]) -> None:
        touch(chunk)
        if chunk.number == 1:
            chunk.session.flush()
            look_once.set()
            assert looked.wait(30)

    look_once, looked = threading.Event(), threading.Event()
    handle = flags.submit(flags.job(process=process, throttle_on=_FLAG))
    crew = flags.crew()
    look(flags)
    raise_flag(flags, "stop")
    worker = threading.Thread(target=crew.work)
    if flags.runtime.database.is_postgresql:
        worker.start()
        assert look_once.wait(30)
        look(flags)
        looked.set()
        worker.join(timeout=30)
        assert handle.progress().rows_done == 10, "the chunk in hand and no other"
        assert flags.count("lanes") == 0
        assert handle.progress().eta is None
    else:
        # Whoever looks waits for the only writer, which the chunk in hand has.
        looked.set()
        look(flags)
        crew.work()
        assert handle.progress().rows_done == 0
    raise_flag(flags, None)
    later(flags)
    look(flags)
    flags.settle(handle)
    flags.assert_proper(handle)


def test_nobody_is_asked_to_come_to_a_run_that_holds_back(flags: Yard) -> None:
    raise_flag(flags, "no")
    handle = flags.submit(flags.job(throttle_on=_FLAG))
    crew = flags.crew()
    look(flags)
    crew.sent.clear()
    crew.tick()
    assert (crew.sent, crew.alone) == ([], [])
    assert crew.steward.throttles, "but somebody has to look on"
    raise_flag(flags, None)
    later(flags)
    look(flags)
    crew.tick()
    assert [queue for queue, _ in crew.sent] == ["celery"]
    flags.settle(handle)
    crew.tick()
    assert not crew.steward.throttles


@pytest.mark.parametrize(
    ("check", "says"),
    [
        ("SELECT 1 WHERE 1 = 0", None),
        ("SELECT NULL", None),
        ("SELECT ''", None),
        ("SELECT 0", None),
        ("SELECT 'first' UNION ALL SELECT 'first'", "its check says: first"),
        ("SELECT 1 = 0", None),
        ("SELECT 1 = 1", "its check says so"),
        ("SELECT '50% of :all'", "its check says: 50% of :all"),
        ("SELECT nothing FROM nowhere", "check cannot be told: "),
        ("DELETE FROM goods", "check cannot be told: "),
        ("SELEKT 1", "check cannot be told: "),
    ],
)
def test_what_a_check_may_say(yard: Yard, check: str, says: str | None) -> None:
    handle = yard.submit(yard.job(throttle_on=check))
    yard.crew()
    look(yard)
    shown = handle.progress().throttled
    assert (shown is None) == (says is None), shown
    if says is not None:
        assert str(shown).startswith(says)
    assert len(yard.versions()) == 25, "a check changes nothing"


def test_a_check_that_takes_too_long_holds_the_run_and_nobody_else(yard: Yard) -> None:
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
    slow = yard.submit(yard.job(throttle_on=f"{endless} SELECT count(*) FROM n"))
    other = yard.submit(yard.job(name="Other", throttle_on="SELECT NULL"))
    yard.crew()
    look(yard)
    assert throttled(slow).startswith("check cannot be told: it took longer than 1 s; since ")
    assert other.progress().throttled is None
    slow.limit(throttle_on=None)
    yard.settle(slow)
    yard.settle(other)


def test_it_works_only_in_its_hours(yard: Yard) -> None:
    with yard.reading() as connection:
        now = yard.ledger.lanes.now(connection)
    begin, end = now + timedelta(hours=2), now + timedelta(hours=3)
    handle = yard.submit(yard.job(only=f"{begin:%H:%M}-{end:%H:%M}"))
    yard.crew()
    look(yard)
    opens = begin.replace(second=0, microsecond=0)
    assert throttled(handle).startswith(
        f"it works only {begin:%H:%M}-{end:%H:%M}, which begins at {opens:%Y-%m-%d %H:%M} UTC;"
    )
    handle.limit(only=f"{now - timedelta(hours=1):%H:%M}-{end:%H:%M}")
    look(yard)
    assert handle.progress().throttled is None
    yard.settle(handle)
    yard.assert_proper(handle)


def test_limits_are_changed_while_it_goes_on_and_that_is_on_record(flags: Yard) -> None:
    raise_flag(flags, "no")
    handle = flags.submit(flags.job(), throttle_on=_FLAG, max_lanes=3)
    assert handle.record().max_lanes == 3
    flags.crew()
    look(flags)
    assert handle.progress().holds_back
    left = handle.limit(throttle_on=None, max_rows_per_second=1_000, by="olga")
    assert left.words() == ["at most 1,000 rows/s"]
    assert handle.limit(max_rows_per_second=1_000) == left, "nothing new"
    assert handle.progress().throttled is None
    flags.settle(handle)
    flags.assert_proper(handle)
    assert told(handle)[1:] == [
        ("limits", "at most 1,000 rows/s, before: as long as its check says nothing")
    ]
    with pytest.raises(StateError, match="has ended"):
        handle.limit(only="22:00-06:00")
    look(flags)
    assert [flags.count(table) for table in ("throttles", "allowances")] == [0, 0]


def test_what_was_measured_by_other_rules_counts_for_nothing(flags: Yard) -> None:
    raise_flag(flags, "no")
    handle = flags.submit(flags.job(throttle_on=_FLAG))
    throttles = flags.ledger.throttles
    with flags.reading() as connection:
        (seen,) = throttles.all(connection)
        now = flags.ledger.lanes.now(connection)
    # While somebody measures for some seconds, somebody else takes the check away.
    handle.limit(throttle_on=None, max_rows_per_second=1_000)
    over = Reading(Gauge.CHECK, "its check says: no", over=True, calm=False)
    with flags.transaction() as connection:
        assert not throttles.save(connection, seen, ThrottleState(over, now), 0)
    assert handle.record().throttled_to == 1
    assert handle.progress().throttled is None
    flags.settle(handle)
    flags.assert_proper(handle)


def test_what_does_not_fit_is_refused_at_submit_and_later(yard: Yard) -> None:
    job = yard.job()
    with pytest.raises(ParameterError, match="max_rows_per_second=0 must be a number of rows"):
        yard.submit(job, max_rows_per_second=0)
    with pytest.raises(ParameterError, match="A run cannot have 0 lanes"):
        yard.submit(job, max_lanes=0)
    with pytest.raises(ParameterError, match="There is no limit or option 'max_lag'"):
        yard.submit(job, max_lag=5)
    handle = yard.submit(job)
    with pytest.raises(ParameterError, match="hours as in"):
        handle.limit(only="at night")
    with pytest.raises(ParameterError, match=r"limited by limit_lanes\(\)"):
        handle.limit(max_lanes=2)  # type: ignore[call-arg]


def test_sqlite_has_neither_replicas_nor_sessions(sqlite_yard: Yard) -> None:
    for limit in ({"max_replica_lag": 5}, {"max_lock_waits": 5}):
        with pytest.raises(ParameterError, match=rf"{next(iter(limit))} needs PostgreSQL"):
            sqlite_yard.submit(sqlite_yard.job(), **limit)
    assert sqlite_yard.bulk.runs() == []


def test_a_run_that_was_paused_is_looked_at_before_it_works(flags: Yard) -> None:
    handle = flags.submit(flags.job(throttle_on=_FLAG))
    crew = flags.crew()
    look(flags)
    assert handle.pause() is RunStatus.PAUSED
    raise_flag(flags, "by now")
    assert handle.progress().throttled is None
    handle.resume()
    crew.work()
    assert handle.progress().rows_done == 0
    look(flags)
    assert throttled(handle).startswith("its check says: by now")
    assert handle.cancel() is RunStatus.CANCELLED


@contextmanager
def contention(yard: Yard, sessions: int) -> Iterator[None]:
    """One session of the application has a row, and so many others wait for it."""
    statement = text("UPDATE goods SET version = version + 0 WHERE id = 25")
    pids: list[int] = []

    def wait() -> None:
        with yard.engine.connect() as connection:
            pids.append(connection.execute(text("SELECT pg_backend_pid()")).scalar_one())
            connection.execute(statement)
            connection.rollback()

    waiters = [threading.Thread(target=wait) for _ in range(sessions)]
    with yard.engine.connect() as holder:
        holder.execute(statement)
        for one in waiters:
            one.start()

        def all_wait() -> bool:
            query = text(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE wait_event_type = 'Lock' AND pid = ANY(:pids)"
            )
            with yard.engine.connect() as connection:
                found = connection.execute(query, {"pids": pids}).scalar_one()
            return bool(found == sessions)

        try:
            wait_for(all_wait, message="sessions to wait for a lock")
            yield
        finally:
            holder.rollback()
            for one in waiters:
                one.join(timeout=30)


def test_it_holds_back_while_the_application_waits_for_locks(postgres_yard: Yard) -> None:
    handle = postgres_yard.submit(postgres_yard.job(max_lock_waits=1))
    postgres_yard.crew()
    with contention(postgres_yard, 2):
        look(postgres_yard)
        shown = handle.progress().throttled
    assert shown is not None
    assert (shown.by, shown.value, shown.limit, shown.lanes) == ("lock waits", 2.0, 1.0, 0)
    assert shown.reason == "2 sessions wait for locks, at most 1"
    later(postgres_yard)
    look(postgres_yard)
    assert handle.progress().throttled is None, "it had no lanes that could be halved"
    postgres_yard.settle(handle)
    postgres_yard.assert_proper(handle)


def test_it_comes_back_with_half_its_lanes(postgres_yard: Yard) -> None:
    yard = postgres_yard
    handle = yard.submit(yard.job(max_lock_waits=0))
    yard.crew(slots=8)
    look(yard)
    lanes = [yard.lane(handle, number) for number in range(4)]
    with contention(yard, 1):
        look(yard)
    with yard.transaction() as connection:
        assert not yard.ledger.claims.may_work(connection, handle.id, lanes[0].token)
        for lane in lanes:
            yard.ledger.lanes.leave(connection, lane.token)
    later(yard)
    look(yard)
    shown = handle.progress().throttled
    assert str(shown) == (
        "to 2 lanes for the time being, after this: 1 session waits for locks, at most 0"
    )
    assert handle.record().throttled_to == 2
    later(yard)
    look(yard)
    assert handle.record().throttled_to == 3, "one more, as long as it is calm"
    yard.settle(handle)


def test_our_own_lanes_waiting_for_each_other_are_none_of_it(postgres_yard: Yard) -> None:
    yard = postgres_yard
    handle = yard.submit(yard.job(max_lock_waits=0))
    yard.crew()
    with yard.runtime.database.connect() as holder, yard.runtime.database.connect() as waiter:
        holder.execute(text("SELECT pg_advisory_xact_lock(4711)"))
        with yard.runtime.database.watched(waiter, "breakbulk lane of a test"):
            pid = waiter.execute(text("SELECT pg_backend_pid()")).scalar_one()
            thread = threading.Thread(
                target=waiter.execute, args=[text("SELECT pg_advisory_xact_lock(4711)")]
            )
            thread.start()
            query = text("SELECT wait_event_type FROM pg_stat_activity WHERE pid = :pid")
            with yard.engine.connect() as seer:

                def waits() -> bool:
                    found = seer.execute(query, {"pid": pid}).scalar_one()
                    seer.rollback()
                    return bool(found == "Lock")

                wait_for(waits, message="the lane to wait")
            look(yard)
            holder.rollback()
            thread.join(timeout=30)
    assert handle.progress().throttled is None
    handle.cancel()


def test_without_a_replica_its_lag_cannot_be_told(postgres_yard: Yard) -> None:
    handle = postgres_yard.submit(postgres_yard.job(max_replica_lag=10))
    postgres_yard.crew()
    look(postgres_yard)
    assert throttled(handle).startswith("replica lag cannot be told: no replica is connected; ")
    handle.limit(max_replica_lag=None)
    postgres_yard.settle(handle)
    postgres_yard.assert_proper(handle)
