"""Any iterable as a source: read once, stored in batches, worked on while it is being read."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from breakbulk import CancelRun, Items, RunStatus
from breakbulk.errors import (
    BreakbulkError,
    LostClaim,
    OverlapError,
    SourceError,
    StateError,
)
from breakbulk.runner import earlyend
from tests.support.waiting import wait_for
from tests.support.yard import Boom, Notice, Yard, together

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from sqlalchemy import Connection

    from breakbulk import Chunk, Progress, RunHandle

_LONG_AGO = datetime.now(UTC) - timedelta(hours=1)


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five items in a batch, and no batch is stored for the time it has waited."""
    monkeypatch.setattr("breakbulk.runner.reading.BATCH_ITEMS", 5)
    monkeypatch.setattr("breakbulk.runner.reading.BATCH_SECONDS", 60.0)


@pytest.fixture
def seen() -> list[Any]:
    """What was processed, in the order in which it was."""
    return []


@pytest.fixture
def note(seen: list[Any]) -> Callable[[Chunk[Any]], None]:
    """A process that notes what it is given."""

    def process(chunk: Chunk[Any]) -> None:
        seen.extend(chunk)

    return process


class Dead(BaseException):
    """What ends a producer that cannot say a word any more."""


def dies(yard: Yard, job: type[Any], monkeypatch: pytest.MonkeyPatch, **options: Any) -> RunHandle:
    """Submit a job whose producer dies on its way, as if its process had been killed."""
    with monkeypatch.context() as patch:
        patch.setattr("breakbulk.runner.load.end_early", lambda *_: True)
        with pytest.raises(Dead):
            yard.submit(job, **options)
    return yard.bulk.run(yard.bulk.runs()[0].id)


def silent(yard: Yard) -> None:
    """Let the leases of all producers run out, their processes be gone, and the leader be old."""
    loads, workers = yard.ledger.database.schema.loads, yard.ledger.database.schema.workers
    with yard.engine.begin() as connection:
        connection.execute(update(loads).values(lease_until=_LONG_AGO, pid=0))
        connection.execute(update(workers).values(healthy_since=_LONG_AGO))


def up_to(end: int, then: BaseException | None = None) -> Iterator[int]:
    """Numbers from 0, and after them an error."""
    yield from range(end)
    if then is not None:
        raise then


def waits_for_lock(yard: Yard) -> bool:
    """Whether somebody waits for a lock."""
    query = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    with yard.engine.connect() as connection:
        return bool(connection.execute(text(query)).scalar())


# Reading


@pytest.mark.parametrize("count", [0, 1, 4, 5, 10, 25, 26])
def test_each_item_once_and_called_back_once(
    yard: Yard, seen: list[Any], note: Any, count: int
) -> None:
    handle = yard.run(note, source=lambda: Items({"n": n} for n in range(count)))
    assert handle.status() is RunStatus.SUCCEEDED
    assert [item["n"] for item in seen] == list(range(count))
    assert yard.notices() == [f"succeeded {count}"]
    audit = handle.audit()
    assert audit.clean, audit.findings
    assert audit.notes == ()
    progress = handle.progress()
    assert (progress.rows_done, progress.rows_total) == (count, count)
    assert progress.total_is_exact
    assert yard.count("items") == count


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        -1.5,
        10**30,
        "",
        'ünï\u0000"\\\n✓\U0001f600',
        [],
        {},
        [1, [2, {"a": None}]],
        {"": {"b": [False]}},
    ],
    ids=repr,
)
def test_a_value_comes_as_it_was_given(
    yard: Yard, seen: list[Any], note: Any, value: object
) -> None:
    assert yard.run(note, source=lambda: Items([value])).status() is RunStatus.SUCCEEDED
    assert seen == [value]
    assert type(seen[0]) is type(value)


def test_it_is_worked_on_while_it_is_being_read(yard: Yard, seen: list[Any], note: Any) -> None:
    crew = yard.first_crew
    looked: list[Progress] = []

    def produce() -> Iterator[int]:
        yield from range(11)
        crew.work(0.5)
        looked.append(yard.bulk.run(yard.bulk.runs()[0].id).progress())
        assert yard.notices() == []
        assert seen == list(range(10))
        yield from range(11, 20)

    handle = yard.submit(yard.job(note, source=lambda: Items(produce())))
    (meanwhile,) = looked
    assert meanwhile.status is RunStatus.LOADING
    assert meanwhile.rows_total is None
    assert meanwhile.fraction is None
    assert not meanwhile.total_is_exact
    assert handle.status() is RunStatus.RUNNING
    yard.settle(handle)
    assert seen == list(range(20))
    assert yard.notices() == ["succeeded 20"]
    assert handle.audit().clean


def test_a_lane_that_finds_nothing_new_leaves_its_slot(
    yard: Yard, note: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("breakbulk.runner.hand._LOADING_PATIENCE", 0.1)
    crew, wanted = yard.first_crew, []

    def demand() -> list[int]:
        with yard.reading() as connection:
            return [one.wanted for one in yard.ledger.lanes.demand(connection, {})]

    def produce() -> Iterator[int]:
        wanted.append(demand())
        yield from range(5)
        wanted.append(demand())
        crew.work(20)
        wanted.append(demand())
        yield from range(5)
        wanted.append(demand())

    yard.submit(yard.job(note, source=lambda: Items(produce())))
    assert wanted == [[], [1], [], [1]]
    assert yard.count("lanes") == 0


def test_a_lane_that_came_while_it_was_loading_does_the_last_items_too(
    yard: Yard, seen: list[Any], note: Any
) -> None:
    """It knows from the ledger, and not from the run as it was, that the end has come."""
    crew, over = yard.first_crew, threading.Event()

    def work() -> None:
        while not over.is_set():
            crew.work(1)

    lane = threading.Thread(target=work)

    def produce() -> Iterator[int]:
        yield from range(5)
        lane.start()
        wait_for(lambda: seen == list(range(5)), message="the first items")
        yield from range(5, 23)

    handle = yard.submit(yard.job(note, source=lambda: Items(produce())))
    wait_for(lambda: handle.status() is RunStatus.SUCCEEDED, message="the end")
    over.set()
    lane.join()
    assert seen == list(range(23))
    assert yard.notices() == ["succeeded 23"]


def test_the_iterable_is_read_once_and_by_nobody_else(
    yard: Yard, seen: list[Any], note: Any
) -> None:
    asked: list[int] = []

    def source() -> Items[int]:
        asked.append(1)
        return Items(up_to(25))

    job = yard.job(note, source=source)
    plan = yard.bulk.plan(job())
    assert (plan.rows_estimate, plan.last_key, plan.sample) == (None, None, ())
    assert plan.key_names == ("item",)
    assert asked == [1]
    handle = yard.submit(job)
    yard.settle(handle)
    handle.audit()
    assert handle.chunk_sql(1) is not None
    assert asked == [1, 1]
    assert seen == list(range(25))


def test_batches_are_bounded_in_bytes_too(yard: Yard, note: Any) -> None:
    yard.submit(yard.job(note, source=lambda: Items(["x" * 60_000] * 4)))
    assert yard.count("items") == 4


@pytest.mark.parametrize("given", ["text", b"bytes", {"a": 1}, 5, None])
def test_what_is_hardly_meant_is_refused(yard: Yard, note: Any, given: Any) -> None:
    with pytest.raises(SourceError, match="Items takes an iterable of JSON values"):
        yard.submit(yard.job(note, source=lambda: Items(given)))
    assert yard.count("runs") == 0


# Keys, failures, retries


def test_the_key_of_an_item_is_its_position(yard: Yard) -> None:
    keys: dict[str, Any] = {}

    def process(chunk: Chunk[Any]) -> None:
        numbers: list[Any] = [key for (key,) in chunk.row_keys]
        assert len(numbers) == len(list(chunk))
        assert numbers == list(range(numbers[0], numbers[-1] + 1))
        for item in chunk:
            keys[chunk.key_for(item)] = item

    handle = yard.run(process, source=lambda: Items(n % 3 for n in range(25)))
    assert handle.status() is RunStatus.SUCCEEDED
    assert keys == {f"breakbulk-{handle.id}-[{n + 1}]": n % 3 for n in range(25)}


def test_an_item_that_fails_goes_to_quarantine_by_its_position(yard: Yard, seen: list[Any]) -> None:
    broken = {7, 13}

    def process(chunk: Chunk[Any]) -> None:
        items = list(chunk)
        if bad := broken & {item["n"] for item in items}:
            raise Boom(f"{bad}")
        seen.extend(item["n"] for item in items)

    job = yard.job(process, source=lambda: Items({"n": n} for n in range(25)), max_retries=0)
    handle = yard.submit(job)
    yard.settle(handle)
    assert handle.status() is RunStatus.PARTIAL
    assert [row.key for row in handle.errors()] == ["[8]", "[14]"]
    assert handle.audit().clean
    broken.clear()
    assert handle.retry(key=(8,)).rows == 1
    yard.settle(handle)
    handle.retry()
    yard.settle(handle)
    assert handle.status() is RunStatus.SUCCEEDED
    assert sorted(seen) == list(range(25))


def test_too_many_failures_stop_it_while_it_is_being_read(yard: Yard) -> None:
    crew, given = yard.first_crew, []

    def process(_chunk: Chunk[Any]) -> None:
        raise Boom

    def produce() -> Iterator[int]:
        for number in range(100):
            given.append(number)
            if number == 20:
                crew.work(5)
                crew.tick()
            yield number

    job = yard.job(
        process, source=lambda: Items(produce()), max_retries=0, on_failure="stop", chunk_size=3
    )
    handle = yard.submit(job)
    yard.settle(handle)
    record = handle.record()
    assert record.status is RunStatus.FAILED
    assert "chunk 1 failed" in (record.reason or "")
    assert len(given) < 40
    with pytest.raises(StateError, match=r"was not read to its end.*submit its job anew"):
        handle.retry()
    assert yard.rows_of("loads")[0]["producer"] is None


def test_a_run_that_cannot_go_on_is_held_while_it_is_being_read(yard: Yard) -> None:
    crew = yard.first_crew
    statuses = []

    def process(_chunk: Chunk[Any]) -> None:
        raise RuntimeError("a broken deploy")

    def produce() -> Iterator[int]:
        yield from range(40)
        crew.work(5)
        statuses.append(yard.bulk.runs()[0].status)
        yield from range(5)

    job = yard.job(process, source=lambda: Items(produce()), max_retries=0, chunk_size=2)
    handle = yard.submit(job)
    assert statuses == [RunStatus.HELD]
    assert handle.status() is RunStatus.HELD
    assert handle.resume() is RunStatus.RUNNING


# Ending early


def test_an_error_of_the_iterable_fails_the_run_with_its_reason(
    yard: Yard, seen: list[Any], note: Any
) -> None:
    crew = yard.first_crew
    told: list[str] = []

    def produce() -> Iterator[int]:
        yield from range(5)
        crew.work(0.5)
        yield from range(5, 12)
        raise Boom("the feed is gone")

    job = yard.job(
        note, source=lambda: Items(produce()), failed=lambda run: told.append(run.reason or "")
    )
    with pytest.raises(SourceError) as caught:
        yard.submit(job)
    assert isinstance(caught.value.__cause__, Boom)
    handle = yard.bulk.run(yard.bulk.runs()[0].id)
    yard.settle(handle)
    record = handle.record()
    reason = f"source ended early at item 12: {Boom.__module__}.Boom: the feed is gone"
    assert (record.status, record.reason) == (RunStatus.FAILED, reason)
    assert told == [reason]
    assert str(caught.value) == (
        f"The source of run {handle.id} ended early at item 12, so the run has failed:"
        f" {Boom.__module__}.Boom: the feed is gone. To go on there, submit with an idempotency"
        " key from the beginning next time."
    )
    # What came before it is stored, and nothing of it is lost or done by half.
    assert yard.count("items") == 12
    assert seen == list(range(5))
    assert yard.notices() == []
    assert handle.audit().clean


def test_what_cannot_be_said_at_once_is_said_later(
    yard: Yard, note: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process lives, so on SQLite no steward would take the producer for gone."""
    right, tries = earlyend.end_early, [0]

    def full(*arguments: Any) -> bool:
        tries[0] += 1
        if tries[0] <= 2:
            raise OperationalError("INSERT", {}, Exception("database or disk is full"))
        return right(*arguments)

    monkeypatch.setattr("breakbulk.runner.load.end_early", full)
    monkeypatch.setattr("breakbulk.runner.load._SAY_AGAIN", 0.05)
    with pytest.raises(SourceError):
        yard.submit(yard.job(note, source=lambda: Items(up_to(12, Boom("the feed is gone")))))
    handle = yard.bulk.run(yard.bulk.runs()[0].id)
    assert handle.status() is RunStatus.LOADING
    wait_for(lambda: handle.status() is not RunStatus.LOADING, message="it to be said at last")
    yard.settle(handle)
    assert handle.status() is RunStatus.FAILED
    assert tries == [3]


def test_a_run_never_succeeds_with_half(
    yard: Yard, note: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that there is was done when the producer is found dead."""
    job = yard.job(note, source=lambda: Items(up_to(10, Dead())))
    handle = dies(yard, job, monkeypatch)
    crew = yard.first_crew
    crew.work(3)
    crew.tick()
    assert handle.status() is RunStatus.LOADING
    assert handle.progress().rows_done == 10
    silent(yard)
    crew.tick()
    crew.work(3)
    record = handle.record()
    assert record.status is RunStatus.FAILED
    assert (record.reason or "").startswith("source ended early at item 10: process 0 on ")
    assert yard.notices() == []


def test_who_submits_again_goes_on_there(
    yard: Yard, seen: list[Any], note: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends: list[BaseException | None] = [Dead(), None]
    given: list[int] = []

    def produce() -> Iterator[int]:
        for number in up_to(12, ends[0]) if ends[0] else up_to(33):
            given.append(number)
            yield number

    job = yard.job(note, source=lambda: Items(produce()))
    first = dies(yard, job, monkeypatch, idempotency_key="k")
    crew = yard.first_crew
    crew.work(3)
    assert seen == list(range(12))
    # Somebody may be at it still.
    assert yard.submit(job, idempotency_key="k").created is False
    assert given == list(range(12))
    silent(yard)
    crew.tick()
    assert first.status() is RunStatus.FAILED
    del ends[0]
    second = yard.submit(job, idempotency_key="k")
    assert (second.id, second.created) == (first.id, False)
    assert second.status() is RunStatus.RUNNING
    yard.settle(second)
    record = second.record()
    assert (record.status, record.round) == (RunStatus.SUCCEEDED, 2)
    assert seen == list(range(33))
    assert yard.notices() == ["succeeded 33"]
    assert second.audit().clean
    assert second.audit().notes == ()
    # It is over: the iterable is not even begun.
    given.clear()
    assert yard.submit(job, idempotency_key="k").status() is RunStatus.SUCCEEDED
    assert given == []


def test_who_submits_again_before_anybody_noticed_goes_on_as_well(
    yard: Yard, seen: list[Any], note: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = [up_to(12, Dead()), up_to(20)]
    job = yard.job(note, source=lambda: Items(sources.pop(0)))
    first = dies(yard, job, monkeypatch, idempotency_key="k")
    silent(yard)
    yard.submit(job, idempotency_key="k")
    yard.settle(first)
    assert (first.record().status, first.record().round) == (RunStatus.SUCCEEDED, 1)
    assert seen == list(range(20))


@pytest.mark.parametrize(
    "others",
    [[0, 1, 2, 3, 4, 5, 6, 7, 8, -9, 10], [0, 1, 2], [], ["0"] * 20],
    ids=["another value", "fewer", "none", "other values"],
)
def test_other_items_are_refused_and_nothing_is_changed(
    yard: Yard, note: Any, others: list[Any]
) -> None:
    sources: list[Iterable[Any]] = [up_to(10, Boom()), others, range(11)]
    job = yard.job(note, source=lambda: Items(sources.pop(0)))
    with pytest.raises(SourceError, match="To go on there, submit again with the idempotency key"):
        yard.submit(job, idempotency_key="k")
    with pytest.raises(SourceError, match="The first 10 items are not those that run"):
        yard.submit(job, idempotency_key="k")
    handle = yard.bulk.run(yard.bulk.runs()[0].id)
    assert handle.status() is RunStatus.FAILED
    yard.settle(yard.submit(job, idempotency_key="k"))
    assert handle.status() is RunStatus.SUCCEEDED
    assert yard.notices() == ["succeeded 11"]


def test_chunks_that_were_stopped_with_it_are_done_when_it_goes_on(
    yard: Yard, seen: list[Any], note: Any
) -> None:
    """A chunk in hand when the iterable ended is cancelled with the run, and opened again."""
    sources = [up_to(10, Boom()), up_to(15)]
    yard.first_crew.tick()

    def process(chunk: Chunk[Any]) -> None:
        if chunk.attempt == 1:
            raise Boom("not yet")
        note(chunk)

    job = yard.job(
        process, source=lambda: Items(sources.pop(0)), chunk_size=4, max_retries=3, retry_delay=3600
    )

    def produce() -> Iterator[int]:
        yield from range(10)
        yard.first_crew.work(1)
        raise Boom

    sources[0] = produce()
    with pytest.raises(SourceError):
        yard.submit(job, idempotency_key="k")
    handle = yard.bulk.run(yard.bulk.runs()[0].id)
    yard.settle(handle)
    assert handle.status() is RunStatus.FAILED
    assert {row["status"] for row in yard.rows_of("chunks")} == {"cancelled"}
    with pytest.raises(StateError, match=r"submit its job again with the idempotency key 'k'\."):
        handle.retry()
    yard.submit(job, idempotency_key="k")
    with yard.transaction() as connection:
        connection.execute(
            update(yard.ledger.database.schema.runs).values(
                policy=yard.rows_of("runs")[0]["policy"].replace("3600", "0")
            )
        )
    yard.settle(handle)
    assert handle.status() is RunStatus.SUCCEEDED
    assert sorted(seen) == list(range(15))


def test_only_one_of_two_who_submit_again_goes_on(yard: Yard, seen: list[Any], note: Any) -> None:
    sources = [up_to(12, Boom()), up_to(20), up_to(20)]
    job = yard.job(note, source=lambda: Items(sources.pop(0)))
    with pytest.raises(SourceError):
        yard.submit(job, idempotency_key="k")
    handles = together(*[lambda: yard.submit(job, idempotency_key="k")] * 2)
    assert len({handle.id for handle in handles}) == 1, handles
    yard.settle(handles[0])
    assert seen == list(range(20))
    assert yard.notices() == ["succeeded 20"]


def test_another_run_of_the_job_stands_in_the_way_of_going_on(yard: Yard, note: Any) -> None:
    sources = [up_to(5, Boom()), up_to(3), up_to(20)]
    job = yard.job(note, source=lambda: Items(sources.pop(0)))
    with pytest.raises(SourceError):
        yard.submit(job, idempotency_key="k")
    yard.submit(job)
    with pytest.raises(OverlapError, match="Another run of"):
        yard.submit(job, idempotency_key="k")


def test_a_producer_that_was_given_up_may_not_go_on(yard: Yard, note: Any) -> None:
    """It was frozen for longer than its lease, and the run was stopped meanwhile."""
    crew = yard.first_crew

    def produce() -> Iterator[int]:
        yield from range(5)
        silent(yard)
        crew.tick()
        yield from range(5, 25)

    handle = None
    with pytest.raises(LostClaim, match="was stopped at item 5"):
        yard.submit(yard.job(note, source=lambda: Items(produce())))
    handle = yard.bulk.run(yard.bulk.runs()[0].id)
    assert handle.status() is RunStatus.FAILED
    assert yard.count("items") == 5


def test_a_slow_iterable_keeps_its_lease(clean_engine: Any, seen: list[Any], note: Any) -> None:
    yard = Yard(clean_engine, shared=True, lease_seconds=2.0)
    crew = yard.first_crew

    def lease() -> Any:
        return yard.rows_of("loads")[0]["lease_until"]

    def produce() -> Iterator[int]:
        yield 1
        before = lease()
        wait_for(lambda: lease() > before, message="the lease to be extended")
        crew.tick()
        yield 2

    handle = yard.submit(yard.job(note, source=lambda: Items(produce())))
    yard.settle(handle)
    assert seen == [1, 2]
    yard.close()


def test_a_live_process_is_not_given_up_on_sqlite(
    sqlite_yard: Yard, note: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lanes may leave no room for its lease."""
    crew = sqlite_yard.first_crew
    job = sqlite_yard.job(note, source=lambda: Items(up_to(10, Dead())))
    handle = dies(sqlite_yard, job, monkeypatch)
    pid = sqlite_yard.rows_of("loads")[0]["pid"]
    silent(sqlite_yard)
    with sqlite_yard.transaction() as connection:
        connection.execute(update(sqlite_yard.ledger.database.schema.loads).values(pid=pid))
    crew.tick()
    assert handle.status() is RunStatus.LOADING
    silent(sqlite_yard)
    crew.tick()
    assert handle.status() is RunStatus.FAILED


def test_a_stalled_database_gives_up_nobody_on_postgresql(
    postgres_yard: Yard, note: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who judges must have been heard from himself for a whole lease."""
    yard = postgres_yard
    crew = yard.first_crew
    job = yard.job(note, source=lambda: Items(up_to(10, Dead())))
    handle = dies(yard, job, monkeypatch)
    workers = yard.ledger.database.schema.workers
    silent(yard)
    with yard.engine.begin() as connection:
        connection.execute(update(workers).values(healthy_since=datetime.now(UTC)))
    crew.tick()
    assert handle.status() is RunStatus.LOADING
    silent(yard)
    crew.tick()
    assert handle.status() is RunStatus.FAILED


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
        assert go.wait(20)

    job = yard.job(note, source=lambda: Items(produce()))
    submit = threading.Thread(target=lambda: yard.submit(job))
    submit.start()
    assert reached.wait(20)
    handle = yard.bulk.run(yard.bulk.runs()[0].id)
    with yard.transaction() as connection:
        yard.ledger.claims.lock(connection, handle.id)
        go.set()
        wait_for(lambda: waits_for_lock(yard), message="the end to wait")
        assert handle.status() is RunStatus.LOADING
    submit.join(20)
    assert handle.status() is RunStatus.RUNNING


def test_what_its_policy_has_stopped_goes_on_with_what_failed(
    yard: Yard, seen: list[Any], note: Any
) -> None:
    crew, broken = yard.first_crew, [True]

    def process(chunk: Chunk[Any]) -> None:
        if broken:
            raise Boom
        note(chunk)

    def produce() -> Iterator[int]:
        for number in range(30):
            if broken and number == 11:
                crew.work(5)
                crew.tick()
            yield number

    job = yard.job(process, source=lambda: Items(produce()), max_retries=0, on_failure="stop")
    first = yard.submit(job, idempotency_key="k")
    yard.settle(first)
    assert first.status() is RunStatus.FAILED
    broken.clear()
    yard.settle(yard.submit(job, idempotency_key="k"))
    assert first.status() is RunStatus.SUCCEEDED
    assert sorted(seen) == list(range(30))
    assert first.audit().clean


# Stopping and going on


def test_a_cancel_ends_the_reading(yard: Yard, note: Any) -> None:
    given: list[int] = []
    closed: list[bool] = []

    def produce() -> Iterator[int]:
        try:
            for number in range(1000):
                given.append(number)
                if number == 7:
                    yard.bulk.run(yard.bulk.runs()[0].id).cancel()
                yield number
        finally:
            closed.append(True)

    handle = yard.submit(yard.job(note, source=lambda: Items(produce())), idempotency_key="k")
    assert handle.status() is RunStatus.CANCELLED
    assert len(given) == 10
    assert closed == [True]
    # Who cancels it means it.
    job = yard.bulk.jobs.get(handle.record().job).cls
    assert yard.submit(job, idempotency_key="k").status() is RunStatus.CANCELLED


def test_a_job_may_cancel_its_run_while_it_is_being_read(yard: Yard) -> None:
    crew = yard.first_crew

    def process(_chunk: Chunk[Any]) -> None:
        raise CancelRun("seen enough")

    def produce() -> Iterator[int]:
        for number in range(1000):
            if number == 6:
                crew.work(2)
            yield number

    handle = yard.submit(yard.job(process, source=lambda: Items(produce())))
    yard.settle(handle)
    assert (handle.record().status, handle.record().reason) == (
        RunStatus.CANCELLED,
        "seen enough",
    )


def test_it_is_read_on_while_it_is_paused(yard: Yard, seen: list[Any], note: Any) -> None:
    crew, statuses = yard.first_crew, []

    def handle() -> RunHandle:
        return yard.bulk.run(yard.bulk.runs()[0].id)

    def produce() -> Iterator[int]:
        yield from range(5)
        statuses.append(handle().pause())
        yield from range(5, 12)
        crew.work(1)
        statuses.append(handle().resume())
        statuses.append(handle().resume())
        yield from range(12, 17)
        statuses.append(handle().pause())

    submitted = yard.submit(yard.job(note, source=lambda: Items(produce())))
    assert statuses == [RunStatus.PAUSED, RunStatus.LOADING, RunStatus.LOADING, RunStatus.PAUSED]
    assert seen == []
    assert submitted.status() is RunStatus.PAUSED
    assert submitted.resume() is RunStatus.RUNNING
    yard.settle(submitted)
    assert seen == list(range(17))
    assert yard.notices() == ["succeeded 17"]


def test_what_ended_early_in_a_pause_fails_when_it_is_resumed(yard: Yard, note: Any) -> None:
    def produce() -> Iterator[int]:
        yield from range(5)
        yard.bulk.run(yard.bulk.runs()[0].id).pause()
        raise Boom("gone")

    with pytest.raises(SourceError):
        yard.submit(yard.job(note, source=lambda: Items(produce())))
    handle = yard.bulk.run(yard.bulk.runs()[0].id)
    yard.first_crew.tick()
    assert handle.status() is RunStatus.PAUSED
    assert handle.resume() is RunStatus.LOADING
    yard.first_crew.tick()
    record = handle.record()
    assert record.status is RunStatus.FAILED
    assert record.reason == f"source ended early at item 5: {Boom.__module__}.Boom: gone"


def test_one_that_stands_behind_another_is_read_meanwhile(
    yard: Yard, seen: list[Any], note: Any
) -> None:
    job = yard.job(note, source=lambda: Items(range(7)))
    first = yard.submit(job)
    second = yard.submit(job, overlap="wait")
    assert second.status() is RunStatus.HELD
    assert yard.count("items") == 14
    yard.settle(first)
    yard.first_crew.tick()
    assert second.status() is RunStatus.RUNNING
    yard.settle(second)
    assert seen == [*range(7), *range(7)]


def test_one_that_stood_behind_another_is_loading_when_its_turn_comes(
    yard: Yard, note: Any
) -> None:
    statuses: list[RunStatus] = []
    crew = yard.first_crew

    def produce() -> Iterator[int]:
        yield from range(5)
        yard.settle(first)
        crew.tick()
        statuses.append(yard.bulk.runs()[0].status)
        yield 5

    sources: list[Iterable[int]] = [range(3), produce()]
    job = yard.job(note, source=lambda: Items(sources.pop(0)))
    first = yard.submit(job)
    second = yard.submit(job, overlap="wait")
    assert statuses == [RunStatus.LOADING]
    assert second.status() is RunStatus.RUNNING


def test_a_second_submit_is_refused_while_it_is_being_read(yard: Yard, note: Any) -> None:
    refused: list[str] = []

    def produce() -> Iterator[int]:
        yield 1
        with pytest.raises(OverlapError, match="is still loading") as caught:
            yard.submit(job)
        refused.append(str(caught.value))

    sources = [Items(produce()), Items(range(3))]
    job = yard.job(note, source=lambda: sources.pop(0))
    yard.submit(job)
    assert len(refused) == 1


# Values that are none


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        (datetime(2026, 1, 1, tzinfo=UTC), "Item 3 is not a JSON value (Object of type datetime"),
        (float("nan"), "Item 3 is not a JSON value (Out of range float values"),
        ({1: "a"}, "Item 3 would come back from JSON as another value"),
        ((1, 2), "Item 3 would come back from JSON as another value"),
        ("\ud800", "Item 3 is not a JSON value ('utf-8' codec can't encode"),
        ("x" * 70_000, "Item 3 has 70002 bytes as JSON and may have 65536"),
    ],
    ids=["moment", "nan", "key", "tuple", "surrogate", "large"],
)
def test_a_value_that_cannot_be_an_item(yard: Yard, note: Any, bad: object, sentence: str) -> None:
    with pytest.raises(SourceError) as caught:
        yard.submit(yard.job(note, source=lambda: Items([1, 2, bad, 4])))
    assert sentence in str(caught.value)
    assert str(caught.value).startswith("The source of run ")
    record = yard.bulk.runs()[0]
    assert record.status is RunStatus.FAILED
    assert (record.reason or "").startswith(f"source ended early at item 2: {sentence}")
    assert yard.count("items") == 2


# In the caller's transaction


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


# Celery


def test_in_eager_mode_it_is_read_and_then_worked_on(
    yard: Yard, seen: list[Any], note: Any
) -> None:
    yard.celery.conf.task_always_eager = True
    handle = yard.submit(yard.job(note, source=lambda: Items(range(12))))
    assert handle.status() is RunStatus.SUCCEEDED
    assert seen == list(range(12))


def test_a_signature_submits_it(yard: Yard, seen: list[Any], note: Any) -> None:
    job = yard.job(note, source=lambda: Items(range(12)))
    signature = yard.bulk.signature(job())
    run_id = yard.celery.tasks["breakbulk.submit"].run(*signature.args, **signature.kwargs)
    yard.settle(yard.bulk.run(run_id))
    assert seen == list(range(12))


def test_every_error_is_one_of_ours(yard: Yard, note: Any) -> None:
    with pytest.raises(BreakbulkError):
        yard.submit(yard.job(note, source=lambda: Items(up_to(1, Boom()))))
