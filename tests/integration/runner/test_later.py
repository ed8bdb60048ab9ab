"""Runs that start later: at a time, or when somebody gives them what they await."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from kombu.utils.json import dumps, loads
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from breakbulk import Items, RunStatus
from breakbulk.domain.verdict import INCOMING_NUMBER, Kept
from breakbulk.errors import ConfigurationError, RunNotFound
from breakbulk.ledger.sql import clock
from breakbulk.runner.submit import Order, Overlap
from tests.support.yard import Yard, tell, together

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from breakbulk import RunHandle

_DAY = 86_400.0
_WEST = timezone(timedelta(hours=-5))


def now(yard: Yard) -> datetime:
    """The database's clock."""
    with yard.reading() as connection:
        at: datetime = connection.execute(select(clock())).scalar_one()
    return at


def awaiting(yard: Yard, **options: Any) -> RunHandle:
    """A run of one item that starts when somebody releases it."""
    job = yard.job(
        lambda _chunk: Kept("1"), source=lambda: Items([1]), keeps=True, finished=tell, **options
    )
    order = Order("celery", "test", overlap=Overlap.ALLOW, awaits=True)
    return yard.bulk.starting.place(job(), order)


def worked(yard: Yard) -> bool:
    """Whether anything is done, now that lanes and stewards have looked."""
    crew = yard.first_crew
    crew.sent.clear()
    crew.tick()
    crew.work()
    return bool(crew.sent) or bool(yard.count("chunks"))


# At a time


@pytest.mark.parametrize("how", ["countdown", "eta"])
def test_no_lane_comes_before_the_time_and_then_it_starts_by_itself(yard: Yard, how: str) -> None:
    at = now(yard) + timedelta(seconds=_DAY)
    options: dict[str, Any] = {"countdown": _DAY} if how == "countdown" else {"eta": at}
    handle = yard.submit(yard.job(), **options)
    record = handle.record()
    assert record.status is RunStatus.RUNNING
    assert record.not_before is not None
    assert abs((record.not_before - at).total_seconds()) < 60
    assert not worked(yard)
    progress = handle.progress()
    assert progress.waits == f"it starts at {record.not_before:%Y-%m-%d %H:%M:%S} UTC"
    assert progress.later
    yard.due()
    crew = yard.first_crew
    crew.tick()
    assert crew.sent, "the steward asks, as for every run that has no lane"
    yard.settle(handle)
    yard.assert_proper(handle)
    assert handle.progress().waits is None


def test_a_time_in_another_zone_is_the_same_time(yard: Yard) -> None:
    at = datetime(2126, 1, 31, 23, tzinfo=timezone(timedelta(hours=1)))
    handle = yard.submit(yard.job(), eta=at)
    assert handle.record().not_before == datetime(2126, 1, 31, 22, tzinfo=UTC)
    assert handle.progress().waits == "it starts at 2126-01-31 22:00:00 UTC"


@pytest.mark.parametrize(
    "options",
    [{"countdown": _DAY}, {"eta": datetime(2126, 1, 31, 22, tzinfo=UTC)}],
    ids=["countdown", "eta"],
)
def test_a_signature_takes_it_along(yard: Yard, options: dict[str, Any]) -> None:
    signature = yard.bulk.signature(yard.job()(), **options)
    run_id = yard.bulk._submit_by_name(*loads(dumps(signature))["args"])
    assert run_id is not None
    not_before = yard.bulk.run(run_id).record().not_before
    assert not_before is not None
    assert not_before > now(yard) + timedelta(seconds=_DAY - 60)


@pytest.mark.parametrize(
    "options", [{"countdown": 0}, {"eta": datetime(2026, 1, 1, tzinfo=UTC)}, {}], ids=repr
)
def test_a_time_that_has_come_means_now(yard: Yard, options: dict[str, Any]) -> None:
    handle = yard.submit(yard.job(), **options)
    assert handle.record().not_before is None
    yard.settle(handle)
    yard.assert_proper(handle)


@pytest.mark.parametrize("countdown", [1e300, 10**400], ids=["float", "int"])
def test_the_longest_countdown_is_no_error(yard: Yard, countdown: float) -> None:
    handle = yard.submit(yard.job(), countdown=countdown)
    not_before = handle.record().not_before
    assert not_before is not None
    assert not_before.year > 3000


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"countdown": -1}, "countdown=-1 must be a number of seconds from 0 up"),
        ({"countdown": float("nan")}, "countdown=nan must be"),
        ({"countdown": float("inf")}, "countdown=inf must be"),
        ({"countdown": "60"}, "countdown='60' must be"),
        ({"countdown": True}, "countdown=True must be"),
        ({"eta": datetime(2126, 1, 1)}, "must be a time with its zone"),  # noqa: DTZ001
        ({"eta": "2126-01-01T00:00Z"}, "must be a time with its zone"),
        ({"eta": datetime.max.replace(tzinfo=_WEST)}, "must be a time with its zone"),
        ({"countdown": 1, "eta": datetime(2126, 1, 1, tzinfo=UTC)}, "not both"),
    ],
)
def test_what_is_no_time_is_refused(yard: Yard, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        yard.submit(yard.job(), **options)
    assert yard.count("runs") == 0


def test_no_lane_is_asked_for_before_the_time(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def send_lanes(*lanes: Any) -> bool:
        asked.append(lanes)
        return True

    assert yard.bulk.broker is not None
    monkeypatch.setattr(yard.bulk.broker, "send_lanes", send_lanes)
    yard.submit(yard.job(), countdown=_DAY)
    with Session(yard.engine) as session:
        yard.bulk.submit(yard.job()(), session=session, countdown=_DAY)
        session.commit()
    assert yard.bulk.nudges.idle
    assert asked == []


def test_an_iterable_is_read_at_once_and_worked_on_later(yard: Yard) -> None:
    seen: list[int] = []

    def produce() -> Iterator[int]:
        yield 1
        yard.first_crew.work()
        yield 2

    job = yard.job(seen.extend, source=lambda: Items(produce()))
    handle = yard.submit(job, countdown=_DAY)
    assert not worked(yard)
    assert yard.count("items") == 2
    yard.due()
    yard.settle(handle)
    assert seen == [1, 2]


def test_an_empty_run_ends_when_its_time_has_come(yard: Yard) -> None:
    handle = yard.submit(yard.job(source=lambda: Items([])), countdown=_DAY)
    assert not worked(yard)
    assert yard.notices() == []
    yard.due()
    yard.settle(handle)
    assert yard.notices() == ["succeeded 0"]


def test_it_can_be_paused_resumed_and_cancelled_before_its_time(yard: Yard) -> None:
    handle = yard.submit(yard.job(failed=tell), countdown=_DAY)
    assert handle.pause() is RunStatus.PAUSED
    assert handle.progress().waits is None, "it is paused, and not waiting"
    assert handle.resume() is RunStatus.RUNNING
    assert not worked(yard)
    handle.cancel()
    yard.settle(handle)
    assert handle.status() is RunStatus.CANCELLED
    assert yard.notices() == ["cancelled 0"], "whoever is told of that need not wait for its time"


def test_a_run_that_starts_later_has_its_place(yard: Yard) -> None:
    job = yard.job()
    first = yard.submit(job, countdown=_DAY)
    second = yard.submit(job, overlap="wait")
    assert second.status() is RunStatus.HELD
    first.cancel()
    yard.settle(first, second)
    assert second.status() is RunStatus.SUCCEEDED


def test_its_next_round_does_not_wait_once_more(yard: Yard) -> None:
    def process(chunk: Any) -> None:
        if chunk.run.round == 1:
            raise ValueError

    handle = yard.submit(yard.job(process, max_retries=0, on_failure="skip"), countdown=_DAY)
    yard.due()
    yard.settle(handle)
    handle.retry()
    yard.settle(handle)
    assert handle.status() is RunStatus.SUCCEEDED


def test_in_eager_mode_nobody_waits(sqlite_yard: Yard) -> None:
    sqlite_yard.celery.conf.task_always_eager = True
    handle = sqlite_yard.submit(sqlite_yard.job(), countdown=_DAY)
    sqlite_yard.assert_proper(handle)


# How long it took


def let_on_time(yard: Yard, handle: RunHandle) -> None:
    yard.due()


def let_by_its_end(yard: Yard, handle: RunHandle) -> None:
    first, _second = yard.bulk.runs()[::-1]
    yard.settle(yard.bulk.run(first.id))


def let_by_word(yard: Yard, handle: RunHandle) -> None:
    assert yard.bulk.starting.release(handle.id, "1")


@pytest.mark.parametrize("let", [let_on_time, let_by_its_end, let_by_word])
def test_what_it_took_counts_from_when_it_could_start(
    yard: Yard, let: Callable[[Yard, RunHandle], None]
) -> None:
    if let is let_by_word:
        handle = awaiting(yard)
    else:
        job = yard.job()
        yard.submit(job)
        later: dict[str, Any] = {"overlap": "wait"}
        if let is let_on_time:
            later = {"overlap": "allow", "countdown": _DAY}
        handle = yard.submit(job, **later)
    runs = yard.ledger.database.schema.runs
    with yard.transaction() as connection:
        connection.execute(
            update(runs).where(runs.c.id == handle.id).values(submitted_at=clock(-3_600.0))
        )
    before = handle.progress()
    assert before.elapsed == 0
    assert 3_590 < before.stood < 3_600 + 60
    let(yard, handle)
    yard.settle(handle)
    after, summary = handle.progress(), handle.record().summary
    assert after.elapsed < 60
    assert 3_590 < after.stood < 3_600 + 60
    assert summary is not None
    assert summary.seconds < 60


def test_what_is_submitted_to_begin_at_once_counts_from_its_submit(yard: Yard) -> None:
    handle = yard.submit(yard.job())
    runs = yard.ledger.database.schema.runs
    with yard.transaction() as connection:
        connection.execute(update(runs).values(submitted_at=clock(-3_600.0)))
    yard.settle(handle)
    assert handle.progress().elapsed > 3_590
    assert handle.progress().stood < 1


# At somebody's word


def test_a_run_starts_when_it_is_given_what_it_awaits_and_once(yard: Yard) -> None:
    handle = awaiting(yard)
    assert not worked(yard)
    assert handle.progress().waits == "it starts when what comes before it has ended"
    release = yard.bulk.starting.release
    assert release(handle.id, '"first"')
    assert not release(handle.id, '"second"')
    yard.settle(handle)
    assert handle.status() is RunStatus.SUCCEEDED
    assert yard.notices() == ["succeeded 1"]
    with yard.reading() as connection:
        given = yard.ledger.results.get(connection, handle.id, INCOMING_NUMBER)
    assert given == '"first"'
    assert not release(handle.id, '"third"')


def test_of_many_who_release_a_run_one_does(yard: Yard) -> None:
    handle = awaiting(yard)
    values = [f'"{n}"' for n in range(4)]
    released = together(
        *(lambda value=value: yard.bulk.starting.release(handle.id, value) for value in values)
    )
    assert sorted(released) == [False, False, False, True]
    with yard.reading() as connection:
        given = yard.ledger.results.get(connection, handle.id, INCOMING_NUMBER)
    assert given == values[released.index(True)]


def test_a_run_that_will_not_be_given_what_it_awaits_is_cancelled_once(yard: Yard) -> None:
    handle = awaiting(yard, failed=tell)
    starting = yard.bulk.starting
    assert starting.cancel_awaiting(handle.id, "run 7 has failed")
    assert not starting.cancel_awaiting(handle.id, "run 8 has failed")
    assert not starting.release(handle.id, "1")
    yard.settle(handle)
    record = handle.record()
    assert (record.status, record.reason) == (RunStatus.CANCELLED, "run 7 has failed")
    assert yard.notices() == ["cancelled 0"]
    assert yard.count("results") == 0


def test_a_run_that_was_released_is_not_cancelled_for_it(yard: Yard) -> None:
    handle = awaiting(yard)
    assert yard.bulk.starting.release(handle.id, "1")
    assert not yard.bulk.starting.cancel_awaiting(handle.id, "too late")
    yard.settle(handle)
    assert handle.status() is RunStatus.SUCCEEDED


def test_a_run_that_was_cancelled_by_hand_is_not_released(yard: Yard) -> None:
    handle = awaiting(yard)
    handle.cancel()
    yard.settle(handle)
    assert not yard.bulk.starting.release(handle.id, "1")
    assert handle.status() is RunStatus.CANCELLED
    assert yard.count("results") == 0


def test_there_is_no_such_run_to_release(yard: Yard) -> None:
    for verb in (yard.bulk.starting.release, yard.bulk.starting.cancel_awaiting):
        with pytest.raises(RunNotFound):
            verb(4711, "1")


def test_in_eager_mode_it_is_worked_on_when_it_is_released(sqlite_yard: Yard) -> None:
    sqlite_yard.celery.conf.task_always_eager = True
    handle = awaiting(sqlite_yard)
    assert handle.status() is RunStatus.RUNNING
    assert sqlite_yard.bulk.starting.release(handle.id, "1")
    assert handle.status() is RunStatus.SUCCEEDED
