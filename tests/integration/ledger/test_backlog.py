"""What the ledger says is left to do, to Python and to SQL alike."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import insert, text, update

from breakbulk import Items, RunStatus
from breakbulk.domain.backlog import RunBacklog
from breakbulk.domain.sizing import Size
from breakbulk.domain.throttle import Throttle
from breakbulk.errors import ConfigurationError
from breakbulk.ledger import backlogview
from breakbulk.ledger.sql import clock
from breakbulk.runner.throttling import Throttling
from tests.support.plans import CHUNKS, explained, instructions_of, plan_of, read_by
from tests.support.yard import Yard, failing, touch

ROWS = 25
DAY = 86_400.0

if TYPE_CHECKING:
    from breakbulk import Chunk, RunHandle
    from tests.support.yard import Goods

#: What was there before must not change plans.
NEW_FILES = True


def left(yard: Yard, handle: RunHandle) -> RunBacklog:
    (found,) = (run for run in yard.bulk.backlog().runs if run.run_id == handle.id)
    return found


def begun(yard: Yard, job: type[Any], **options: Any) -> RunHandle:
    """Submit, and know how many rows there are: the planner has not seen them yet."""
    handle = yard.submit(job, **options)
    runs = yard.ledger.database.schema.runs
    with yard.transaction() as connection:
        known = (runs.c.id == handle.id, runs.c.rows_estimate.is_not(None))
        connection.execute(update(runs).where(*known).values(rows_estimate=ROWS))
    return handle


def pace(yard: Yard, handle: RunHandle, seconds: float) -> None:
    """Let the chunks that are done have taken so long."""
    chunks = yard.ledger.database.schema.chunks
    with yard.transaction() as connection:
        done = (chunks.c.run_id == handle.id, chunks.c.status == "succeeded")
        connection.execute(update(chunks).where(*done).values(seconds=seconds))


def test_a_fresh_run_is_all_still_to_be_carved(yard: Yard) -> None:
    handle = begun(yard, yard.job(max_lanes=2))
    found = left(yard, handle)
    assert (found.runnable_chunks, found.inflight_chunks, found.delayed_chunks) == (3, 0, 0)
    assert (found.rows_left, found.chunk_seconds, found.backlog_seconds) == (25, 1.0, 3.0)
    assert (found.lanes, found.max_lanes, found.desired_slots) == (0, 2, 1)
    assert 0 <= found.oldest_waiting_seconds < 60
    assert found.rows_per_second == 0


def test_what_is_in_hand_is_not_to_be_begun_again(yard: Yard) -> None:
    seen: list[RunBacklog] = []

    def look(chunk: Chunk[Goods]) -> None:
        touch(chunk)
        if yard.engine.dialect.name == "postgresql":
            seen.append(left(yard, handle))

    handle = begun(yard, yard.job(look))
    yard.settle(handle)
    assert not yard.bulk.backlog().runs, "what has ended is not left"
    if seen:
        assert (seen[0].runnable_chunks, seen[0].inflight_chunks, seen[0].lanes) == (2, 1, 1)
        assert [one.chunks for one in seen] == [3, 2, 1]
        assert seen[0].oldest_waiting_seconds > 0, "and nobody is at the others"
        assert seen[-1].oldest_waiting_seconds == 0, "all is in hand"


def test_the_pace_is_that_of_the_run_or_of_the_jobs_last_one(yard: Yard) -> None:
    job = yard.job(failing(1, number=3), retry_delay=600)
    first = begun(yard, job)
    crew = yard.first_crew
    crew.work()
    pace(yard, first, 20.0)
    found = left(yard, first)
    assert (found.runnable_chunks, found.delayed_chunks) == (0, 1)
    yard.due()
    found = left(yard, first)
    assert (found.runnable_chunks, found.delayed_chunks) == (1, 0)
    assert (found.chunk_seconds, found.backlog_seconds) == (20.0, 20.0)
    yard.settle(first)
    pace(yard, first, 20.0)
    second = begun(yard, job)
    found = left(yard, second)
    assert (found.chunk_seconds, found.backlog_seconds) == (20.0, 60.0)


def resized(yard: Yard, handle: RunHandle, rows: int) -> None:
    """Let a run that sizes its chunks itself have found so many rows to be right."""
    with yard.transaction() as connection:
        yard.ledger.sizes.record(connection, handle.id, Size(rows), detail="a test", actor="test")


def test_chunks_that_size_themselves_are_counted_by_the_size_they_have(yard: Yard) -> None:
    job = yard.job(chunk_size="auto")
    first = begun(yard, job)
    assert left(yard, first).runnable_chunks == 3, "ten rows each, as long as nobody knows"
    resized(yard, first, 5)
    resized(yard, first, 20)
    assert left(yard, first).runnable_chunks == 2
    yard.settle(first)
    resized(yard, first, 20)
    pace(yard, first, 0.5)
    second = begun(yard, job)
    found = left(yard, second)
    assert (found.runnable_chunks, found.backlog_seconds) == (2, 1.0), "size and pace are a pair"
    resized(yard, second, 7)
    assert left(yard, second).runnable_chunks == 4
    fixed = begun(yard, yard.job())
    assert left(yard, fixed).runnable_chunks == 3


def test_a_deadline_says_how_many_slots_it_takes(yard: Yard) -> None:
    job = yard.job()
    yard.settle(first := begun(yard, job))
    pace(yard, first, 200.0)

    def desired(**options: Any) -> RunBacklog:
        return left(yard, begun(yard, job, overlap="allow", **options))

    assert desired().desired_slots == 2, "600 seconds of work, to be done in 300"
    at = datetime.now(UTC) + timedelta(seconds=900)
    early = desired(finish_by=at)
    assert (early.desired_slots, early.finish_by) == (1, at)
    assert early.seconds_left == pytest.approx(900, abs=60)
    assert not early.late
    assert desired(finish_by=250).desired_slots == 3
    tight = desired(finish_by=20)
    assert (tight.desired_slots, tight.late) == (3, True), "never more than it has chunks"
    missed = desired(finish_by=0)
    assert missed.desired_slots == 3
    assert missed.seconds_left is not None
    assert missed.seconds_left <= 0


def test_another_target_takes_as_many_slots_as_the_view_would_say(yard: Yard) -> None:
    """Of its own target the view says so itself."""
    job = yard.job()
    yard.settle(first := begun(yard, job))
    pace(yard, first, 200.0)
    begun(yard, job, max_lanes=2)
    begun(yard, yard.job(), finish_by=0)
    with yard.reading() as connection:
        seen = [run.desired_slots for run in yard.ledger.backlogs.runs(connection)]
    assert [run.desired_slots for run in yard.bulk.backlog().runs] == seen == [2, 3]
    wanted = {1: (2, 3), 299: (2, 3), 600: (1, 3), 1e9: (1, 3)}
    for target, desired in wanted.items():
        assert tuple(run.desired_slots for run in yard.bulk.backlog(target).runs) == desired
    assert yard.bulk.backlog(target=1).of("celery").desired_slots == 5


@pytest.mark.parametrize("target", [0, -1, float("nan"), float("inf"), True])
def test_what_is_no_target_is_refused(yard: Yard, target: float) -> None:
    with pytest.raises(ConfigurationError, match="The target must be a number of seconds"):
        yard.bulk.backlog(target=target)


def test_a_limit_of_lanes_is_one_of_slots(yard: Yard) -> None:
    handle = begun(yard, yard.job(max_lanes=2), finish_by=0)
    assert left(yard, handle).desired_slots == 2


@pytest.mark.parametrize("deadline", ["tomorrow", -1, float("nan"), True, datetime(2026, 1, 1)])  # noqa: DTZ001
def test_what_is_no_deadline_is_refused(yard: Yard, deadline: Any) -> None:
    with pytest.raises(ConfigurationError, match="finish_by"):
        yard.submit(yard.job(), finish_by=deadline)
    assert not yard.bulk.runs()


def test_who_is_not_to_be_worked_on_wants_no_slots(yard: Yard) -> None:
    later = begun(yard, yard.job(), countdown=600)
    paused = begun(yard, yard.job())
    paused.pause()
    for handle in (later, paused):
        found = left(yard, handle)
        assert (found.runnable_chunks, found.backlog_seconds, found.desired_slots) == (0, 0, 0)
        assert found.oldest_waiting_seconds == 0
    paused.resume()
    assert left(yard, paused).runnable_chunks == 3


def aged(yard: Yard, handle: RunHandle, seconds: float) -> None:
    """Let all that has happened to a run so far have been so much earlier."""
    schema = yard.ledger.database.schema
    runs, waiting = schema.runs, schema.waiting
    (row,) = (one for one in yard.rows_of("runs") if one["id"] == handle.id)
    earlier = {
        name: row[name] - timedelta(seconds=seconds)
        for name in ("submitted_at", "not_before", "served_at", "ready_at")
        if row[name] is not None
    }
    with yard.transaction() as connection:
        connection.execute(update(runs).where(runs.c.id == handle.id).values(earlier))
        mine = waiting.c.run_id == handle.id
        connection.execute(update(waiting).where(mine).values(not_before=clock(-seconds)))


def waits(yard: Yard, handle: RunHandle) -> str:
    """How long its oldest work has waited, near enough."""
    seconds = left(yard, handle).oldest_waiting_seconds
    return "a day" if seconds > DAY - 1 else "not long"


def test_work_waits_as_long_as_lanes_could_have_come_whether_any_did_or_not(yard: Yard) -> None:
    handle = begun(yard, yard.job())
    aged(yard, handle, DAY)
    assert waits(yard, handle) == "a day"
    lane = yard.lane(handle)
    assert waits(yard, handle) == "a day", "of what is not carved yet nothing is at work"
    with yard.transaction() as connection:
        yard.ledger.lanes.leave(connection, lane.token)
    assert waits(yard, handle) == "a day"


def test_what_was_stopped_has_not_waited_meanwhile(yard: Yard) -> None:
    handle = begun(yard, yard.job(failing(1, number=3), retry_delay=600))
    yard.first_crew.work()
    aged(yard, handle, DAY)
    assert waits(yard, handle) == "a day", "a retry that is due"
    handle.pause()
    assert left(yard, handle).oldest_waiting_seconds == 0
    aged(yard, handle, DAY)
    handle.resume()
    assert waits(yard, handle) == "not long"
    aged(yard, handle, DAY)
    assert waits(yard, handle) == "a day", "since it was resumed"


def throttled(yard: Yard, handle: RunHandle, lanes: int | None) -> None:
    runs = yard.ledger.database.schema.runs
    with yard.transaction() as connection:
        connection.execute(update(runs).where(runs.c.id == handle.id).values(throttled_to=lanes))


def test_what_holds_back_has_not_waited_meanwhile(yard: Yard) -> None:
    handle = begun(yard, yard.job(throttle_on="SELECT NULL"))
    aged(yard, handle, DAY)
    assert left(yard, handle).oldest_waiting_seconds == 0, "nobody has looked yet"
    with yard.runtime.database.connect() as connection:
        Throttling(yard.runtime).look(connection)
    assert waits(yard, handle) == "not long"
    aged(yard, handle, DAY)
    assert waits(yard, handle) == "a day", "since it may"
    throttled(yard, handle, 0)
    with yard.transaction() as connection:
        assert yard.ledger.throttles.change(connection, handle.id, Throttle())
    assert waits(yard, handle) == "not long"


def test_what_stands_behind_another_has_not_waited_meanwhile(yard: Yard) -> None:
    job = yard.job()
    first = begun(yard, job)
    behind = begun(yard, job, overlap="wait")
    aged(yard, behind, DAY)
    assert left(yard, behind).oldest_waiting_seconds == 0
    yard.settle(first)
    yard.first_crew.tick()
    assert behind.status() is RunStatus.RUNNING
    assert waits(yard, behind) == "not long"


def test_who_holds_back_wants_no_more_slots_than_it_may_use(yard: Yard) -> None:
    handle = begun(yard, yard.job(max_lanes=3), finish_by=0)
    throttled(yard, handle, 0)
    found = left(yard, handle)
    assert (found.runnable_chunks, found.backlog_seconds, found.late) == (0, 0, False)
    assert (found.rows_left, found.oldest_waiting_seconds, found.max_lanes) == (25, 0, 0)
    assert (found.desired_slots, found.usable_slots) == (1, 1), "somebody has to look"
    for lanes, desired in ((2, 2), (9, 3), (None, 3)):
        throttled(yard, handle, lanes)
        found = left(yard, handle)
        assert (found.runnable_chunks, found.desired_slots) == (3, desired)
        assert (found.max_lanes, found.usable_slots) == (desired, desired)
    free = begun(yard, yard.job(), finish_by=0)
    throttled(yard, free, 2)
    assert (left(yard, free).max_lanes, left(yard, free).desired_slots) == (2, 2)
    throttled(yard, handle, 0)
    handle.pause()
    assert left(yard, handle).desired_slots == 0, "paused is paused"


def test_a_callback_that_is_due_is_work(yard: Yard) -> None:
    handle = begun(yard, yard.job())
    runs = yard.ledger.database.schema.runs
    with yard.transaction() as connection:
        values = {"status": str(RunStatus.FINISHING), "throttled_to": 0}
        connection.execute(update(runs).values(values))
    assert (left(yard, handle).runnable_chunks, left(yard, handle).desired_slots) == (1, 1)


def test_an_estimate_that_proved_too_low_still_leaves_something(yard: Yard) -> None:
    handle = begun(yard, yard.job())
    runs = yard.ledger.database.schema.runs
    with yard.transaction() as connection:
        connection.execute(update(runs).values(rows_estimate=0))
    found = left(yard, handle)
    assert (found.rows_left, found.runnable_chunks) == (0, 1)


def test_items_count_by_what_is_there(yard: Yard) -> None:
    handle = yard.submit(yard.job(lambda _chunk: None, source=lambda: Items(range(35))))
    assert (left(yard, handle).rows_left, left(yard, handle).runnable_chunks) == (35, 4)


def test_each_queue_is_told_of_zeros_included(yard: Yard) -> None:
    yard.job(queue="nobody")
    yard.crew(slots=3)
    begun(yard, yard.job(queue="big"))
    found = yard.bulk.backlog()
    assert [queue.queue for queue in found.queues] == ["big", "celery", "nobody"]
    assert (found.of("big").runnable_chunks, found.of("big").slots) == (3, 0)
    assert found.of("celery").slots == 3
    assert found.of("nobody").backlog_seconds == found.of("unheard of").backlog_seconds == 0
    assert found.of("big").seconds_a_slot == 3.0


def test_how_fast_it_goes_is_of_the_last_seconds(yard: Yard) -> None:
    handle = begun(yard, yard.job())
    tallies = yard.ledger.database.schema.tallies
    with yard.transaction() as connection:
        for ago, rows in ((-60.0, 10_000), (-3.0, 300), (-1.0, 250)):
            values = {"run_id": handle.id, "at": clock(ago), "lane": 0, "chunks": 1, "rows": rows}
            connection.execute(insert(tallies).values(values))
    assert left(yard, handle).rows_per_second == pytest.approx(50.0)


def the_view(yard: Yard) -> str:
    return backlogview.full_name(yard.ledger.database.schema, yard.engine.dialect)


def test_what_keda_asks_is_one_number_also_when_nothing_runs(yard: Yard) -> None:
    query = text(
        f"SELECT COALESCE(SUM(desired_slots), 0) FROM {the_view(yard)} WHERE queue = 'celery'"
    )
    with yard.engine.connect() as connection:
        assert connection.execute(query).scalar_one() == 0
    begun(yard, yard.job(), finish_by=0)
    with yard.engine.connect() as connection:
        assert connection.execute(query).scalar_one() == 3


def test_a_long_run_is_looked_up_and_not_read(yard: Yard, long_run: RunHandle) -> None:
    def look(connection: Any) -> object:
        return yard.ledger.backlogs.runs(connection)

    found = left(yard, long_run)
    assert (found.inflight_chunks, found.runnable_chunks) == (5, 1)
    (plan,) = plan_of(yard, look)
    assert "Seq Scan on chunks" not in plan, plan
    assert "SCAN breakbulk_chunks" not in plan, plan
    assert "SCAN k\n" not in plan, plan
    if yard.engine.dialect.name == "postgresql":
        asked = [(f"SELECT * FROM {the_view(yard)}", ())]
        (timed,) = explained(yard, asked, "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) ")
        assert read_by(timed) <= 105, timed
    else:
        assert instructions_of(yard, look) < 2 * CHUNKS
