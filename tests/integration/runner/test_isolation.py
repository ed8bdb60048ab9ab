"""What becomes of chunks that keep failing: the bad rows are found, the rest is done."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from sqlalchemy import delete, select, text

from breakbulk import RunStatus
from breakbulk.domain.chunk import Bounds, Cut
from breakbulk.domain.keys import decode_key
from breakbulk.domain.status import ChunkStatus
from breakbulk.errors import OverlapError, StateError
from breakbulk.runner.lane import LaneWork
from breakbulk.runner.runtime import live_lanes
from tests.support.yard import Goods, Yard, tell, together, touch

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from sqlalchemy import Connection, Engine

    from breakbulk import Chunk, FinishedRun, RunHandle
    from breakbulk.domain.chunk import Claim

    Opener = Callable[..., Yard]


class Bad(Exception):
    pass


def failing_on(
    bad: Collection[int], attempts: Counter[int] | None = None
) -> Callable[[Chunk[Goods]], None]:
    """A process that fails on some rows, after it has changed others."""

    def process(chunk: Chunk[Goods]) -> None:
        if attempts is not None:
            attempts[chunk.number] += 1
        for row in chunk:
            row.version += 1
            chunk.session.flush()
            if row.id in bad:
                raise Bad(f"row {row.id}")

    return process


def quarantined(handle: RunHandle) -> set[object]:
    return {decode_key(row.key)[0] for row in handle.errors()}


@pytest.fixture
def open_yard(clean_engine: Engine) -> Iterator[Opener]:
    """Call it for a yard with so many rows, and with settings."""
    yards: list[Yard] = []

    def make(**given: Any) -> Yard:
        yards.append(Yard(clean_engine, shared=True, **given))
        return yards[-1]

    yield make
    for made in yards:
        made.close()


@pytest.fixture
def wide(open_yard: Opener) -> Yard:
    """Goods for a few chunks of a hundred."""
    return open_yard(rows=300)


@pytest.mark.parametrize(
    "bad", [{101}, {200}, {150}, {101, 200}, {120, 121, 122}, set(range(110, 118))]
)
def test_the_rows_that_fail_are_found_and_the_rest_is_done(wide: Yard, bad: set[int]) -> None:
    attempts: Counter[int] = Counter()
    handle = wide.run(failing_on(bad, attempts), chunk_size=100, max_retries=1)
    record = handle.record()
    assert record.status is RunStatus.PARTIAL
    assert record.summary is not None
    assert record.summary.rows_done == 300 - len(bad)
    assert record.summary.rows_failed == record.summary.rows_quarantined == len(bad)
    assert quarantined(handle) == bad
    assert {row for row, version in wide.versions().items() if version != 1} == bad
    assert handle.audit().clean
    assert wide.notices() == [f"partial {300 - len(bad)}"]
    # Two tries of the chunk; then for each bad row both halves of each of seven levels at most,
    # and the row itself once more.
    assert attempts[2] <= 2 + len(bad) * (2 * 7 + 1)
    assert attempts[1] == attempts[3] == 1


def test_rows_are_found_where_no_loss_is_tolerated(open_yard: Opener) -> None:
    """To be split is no death: nothing has died, and nobody is to be blamed for it."""
    yard = open_yard(rows=10, max_losses=0)
    handle = yard.run(failing_on({7}), chunk_size=5, max_retries=1)
    record = handle.record()
    assert (record.status, record.reason) == (RunStatus.PARTIAL, None)
    assert quarantined(handle) == {7}


def test_what_is_in_quarantine_tells_all_about_it(wide: Yard) -> None:
    handle = wide.run(failing_on({142}), chunk_size=100, max_retries=0)
    (row,) = handle.errors()
    assert row.key == "[142]"
    assert row.error.endswith("test_isolation.Bad")
    assert row.message == "row 142"
    assert row.place is not None
    assert row.place.startswith("test_isolation.py:")
    assert row.place.endswith(" in process")
    assert 'raise Bad(f"row {row.id}")' in (row.traceback or "")
    assert (row.number, row.attempts, row.round) == (2, 2, 1), "alone it got a second try"
    (group,) = handle.failure_groups()
    assert (group.chunks, group.example) == (1, "row 142")
    assert group.attempts == len(handle.failures(100))


def test_a_single_row_waits_before_its_second_try(open_yard: Opener) -> None:
    yard = open_yard(rows=4)
    handle = yard.submit(yard.job(failing_on({2}), chunk_size=4, max_retries=0, retry_delay=60))
    yard.first_crew.work()
    (waiting,) = yard.rows_of("waiting")
    assert (waiting["path"], handle.errors()) == ("01", [])
    assert handle.status() is RunStatus.RUNNING
    delay = waiting["not_before"] - handle.failures()[0].at
    assert 59 < delay.total_seconds() < 62


def test_a_chunk_of_one_row_goes_to_quarantine_after_its_retries(open_yard: Opener) -> None:
    yard = open_yard(rows=3)
    handle = yard.run(failing_on({2}), chunk_size=1, max_retries=2)
    assert [(row.key, row.attempts) for row in handle.errors()] == [("[2]", 3)]
    assert list(yard.versions().values()) == [1, 0, 1]


class Killed(SystemExit):
    pass


@pytest.fixture
def mortal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lanes that are killed write nothing down and sign nothing off."""
    monkeypatch.setattr(LaneWork, "_record", lambda *_, **__: None)
    monkeypatch.setattr("breakbulk.runner.work._Visit._give_up", lambda *_: None)


@pytest.mark.usefixtures("mortal")
def test_rows_that_kill_their_process_are_found_too(open_yard: Opener) -> None:
    """Each death is seen by the steward, which records it and gives the chunk back."""
    yard = open_yard(rows=40)

    def process(chunk: Chunk[Goods]) -> None:
        touch(chunk)
        chunk.session.flush()
        if any(row.id == 17 for row in chunk):
            raise Killed

    handle = yard.submit(yard.job(process, chunk_size=20, max_retries=1))
    deaths = 0
    while handle.status() in {RunStatus.RUNNING, RunStatus.FINISHING}:
        try:
            yard.first_crew.work()
        except Killed:
            deaths += 1
        yard.first_crew.tick()
    assert handle.status() is RunStatus.PARTIAL
    assert quarantined(handle) == {17}
    assert [row.error for row in handle.errors()] == ["WorkerDied"]
    assert yard.versions() == {row: int(row != 17) for row in range(1, 41)}
    assert handle.audit().clean
    assert deaths == len(handle.failures(100))
    # The chunk twice, its way down of five levels, and the row once more.
    assert deaths <= 2 + 5 + 1


def test_rows_that_vanish_are_not_missed(open_yard: Opener) -> None:
    """Whatever is left of a chunk that failed when it is to be split."""
    yard = open_yard(rows=20)

    def process(chunk: Chunk[Goods]) -> None:
        touch(chunk)
        if chunk.number == 1:
            chunk.session.flush()
            with yard.engine.connect() as other:
                assert other.execute(select(Goods.id).where(Goods.id == 1)).all()
            raise Bad

    handle = yard.submit(yard.job(process, chunk_size=10, max_retries=0, retry_delay=0))
    claims = yard.ledger.claims
    split = claims.split

    def delete_first(connection: Connection, claim: Claim, cuts: Sequence[Cut]) -> bool:
        done = split(connection, claim, cuts)
        if claim.ref.path == "":
            connection.execute(delete(Goods).where(Goods.id <= 5))
        return done

    claims.split = delete_first  # type: ignore[method-assign, assignment]
    yard.settle(handle)
    assert handle.status() is RunStatus.PARTIAL
    assert quarantined(handle) == {6, 7, 8, 9, 10}
    (gone,) = [chunk for chunk in handle.chunks() if (chunk.number, chunk.path) == (1, "0")]
    assert (gone.status, gone.rows) == ("succeeded", 0)
    assert handle.audit().clean


def test_a_policy_that_skips_leaves_the_whole_chunk_out(yard: Yard) -> None:
    handle = yard.run(failing_on({12}), max_retries=1, on_failure="skip")
    record = handle.record()
    assert record.status is RunStatus.PARTIAL
    assert record.summary is not None
    assert (record.summary.rows_failed, record.summary.rows_quarantined) == (10, 0)
    assert [chunk.status for chunk in handle.chunks()] == ["succeeded", "skipped", "succeeded"]
    assert handle.errors() == []
    assert handle.audit().clean


def test_a_policy_that_stops_ends_the_run(open_yard: Opener) -> None:
    told: list[str] = []
    yard = open_yard(rows=1000, max_carve=2)
    job = yard.job(
        failing_on({12}),
        max_retries=0,
        on_failure="stop",
        failed=lambda run: told.append(f"{run.status}: {run.reason}"),
    )
    handle = yard.submit(job)
    yard.settle(handle)
    record = handle.record()
    assert record.status is RunStatus.FAILED
    assert record.reason is not None
    assert record.reason.startswith("chunk 2 failed: ")
    assert record.reason.endswith("row 12")
    assert told == [f"failed: {record.reason}"]
    assert yard.notices() == [], "finished() is for runs that came to their end"
    assert sum(yard.versions().values()) < 100, "the rest was not worked through"
    # Put right, the rest is done in the next round.
    retried = handle.retry()
    assert retried.round == 2
    yard.settle(handle)
    assert handle.status() is RunStatus.FAILED, "it is the same code"


@pytest.mark.parametrize("choice", [{}, {"chunk": 2}, {"key": "[12]"}])
def test_what_a_policy_has_stopped_goes_on_when_it_is_put_right(
    open_yard: Opener, choice: dict[str, Any]
) -> None:
    """Whatever is meant by the retry: chunks that were not tried are not left out of sight."""
    yard = open_yard(rows=100, max_carve=4)
    bad = {12}
    handle = yard.submit(yard.job(failing_on(bad), max_retries=0, tolerate=0))
    crew = yard.crew(slots=2)
    # Another lane has a chunk in hand when this one stops the run.
    other = yard.lane(handle, 1)
    with yard.transaction() as connection:
        yard.ledger.claims.lock(connection, handle.id)
        frontier = yard.ledger.claims.frontier(connection, handle.id, other.token)
        cuts = [Cut(Bounds(None, (10,)), 10)]
        (held,) = yard.ledger.claims.carve(
            connection, handle.id, frontier, cuts, lane=1, owner=uuid4(), exhausts=False
        )
    crew.work()
    assert handle.status() is RunStatus.CANCELLING
    live_lanes.remove(other.token)
    yard.settle(handle)
    assert handle.status() is RunStatus.FAILED
    (left,) = [one for one in handle.chunks() if one.number == held.ref.number]
    assert left.status == "cancelled"
    bad.clear()
    handle.retry(**choice)
    yard.settle(handle)
    yard.assert_proper(handle)


@pytest.mark.parametrize(
    ("tolerate", "status"),
    [(3, RunStatus.PARTIAL), (2, RunStatus.FAILED), ("15%", RunStatus.PARTIAL), ("14%", "failed")],
)
def test_too_many_failed_rows_fail_the_run(
    open_yard: Opener, tolerate: int | str, status: RunStatus
) -> None:
    """Three of twenty."""
    yard = open_yard(rows=20)
    handle = yard.run(failing_on({1, 8, 15}), chunk_size=5, max_retries=0, tolerate=tolerate)
    record = handle.record()
    assert record.status == status
    if status == RunStatus.FAILED:
        rows = "3 rows of 20" if tolerate == "14%" else "3 rows"
        assert record.reason == f"{rows} failed, more than tolerate={tolerate}"


def test_a_run_that_tolerates_little_does_not_work_through_the_rest(open_yard: Opener) -> None:
    yard = open_yard(rows=2000, max_carve=2)
    bad = set(range(1, 2000, 7))
    handle = yard.run(failing_on(bad), chunk_size=10, max_retries=0, tolerate=5)
    assert handle.status() is RunStatus.FAILED
    assert handle.record().reason == "6 rows failed, more than tolerate=5"
    assert sum(yard.versions().values()) < 500


# Not the rows' fault


@pytest.mark.parametrize("max_retries", [0, 5])
def test_a_run_is_held_when_nothing_succeeds_any_more(open_yard: Opener, max_retries: int) -> None:
    yard = open_yard(rows=2000, max_carve=3)
    deployed = [False]

    def process(chunk: Chunk[Goods]) -> None:
        touch(chunk)
        if chunk.number > 20 and not deployed[0]:
            chunk.session.execute(text("SELECT * FROM no_such_table"))

    handle = yard.run(process, chunk_size=10, max_retries=max_retries, retry_delay=0)
    record = handle.record()
    assert record.status is RunStatus.HELD
    assert record.reason is not None
    assert "nothing succeeds any more" in record.reason
    assert "no_such_table" in record.reason
    assert handle.errors() == [], "nothing is in quarantine"
    assert not handle.chunks(statuses=[ChunkStatus.FAILED, ChunkStatus.SKIPPED])
    assert len({one.number for one in handle.failures(1000)}) <= 5
    # A human puts it right and resumes.
    deployed[0] = True
    handle.resume()
    yard.settle(handle)
    yard.assert_proper(handle)


@pytest.mark.thorough
def test_a_small_run_is_held_as_well(open_yard: Opener) -> None:
    """Too few chunks to see it by them: by both halves, down to the first row."""
    yard = open_yard(rows=64)

    def process(chunk: Chunk[Goods]) -> None:
        raise Bad("the same everywhere")

    handle = yard.run(process, chunk_size=64, max_retries=0)
    assert handle.status() is RunStatus.HELD
    assert handle.errors() == []
    assert len(handle.failures(1000)) < 64, "the chunk was not taken apart wholly"
    # Resumed as it is, the rows are isolated: held once, not for ever.
    handle.resume()
    yard.settle(handle)
    assert handle.status() is RunStatus.PARTIAL
    assert len(handle.errors()) == 64


@pytest.mark.thorough
def test_many_bad_rows_among_good_ones_hold_nothing(wide: Yard) -> None:
    bad = set(range(1, 301, 9))
    handle = wide.run(failing_on(bad), chunk_size=30, max_retries=0)
    assert handle.status() is RunStatus.PARTIAL
    assert quarantined(handle) == bad


# Trying again


def test_what_failed_is_tried_again_and_nothing_else(wide: Yard) -> None:
    bad = {101, 205}
    handle = wide.run(failing_on(bad), chunk_size=100, max_retries=0)
    assert quarantined(handle) == {101, 205}
    bad.clear()
    retried = handle.retry()
    assert (retried.round, retried.chunks, retried.rows) == (2, 2, 2)
    assert handle.status() is RunStatus.RUNNING
    wide.settle(handle)
    assert handle.status() is RunStatus.SUCCEEDED
    assert set(wide.versions().values()) == {1}
    assert wide.notices() == ["partial 298", "succeeded 300"], "called back once a round"
    assert handle.audit().clean
    summary = handle.record().summary
    assert summary is not None
    assert (summary.rows_done, summary.rows_failed, summary.attempts_failed) == (300, 0, 0)
    with pytest.raises(StateError, match="succeeded: nothing of it has failed"):
        handle.retry()


@pytest.mark.parametrize(
    ("choice", "left"),
    [
        ({"key": (101,)}, {205}),
        ({"key": "[205]"}, {101}),
        ({"chunk": 2}, {205}),
        ({"chunk": "3"}, {101}),
        ({"error": "Bad"}, set()),
        ({"error": Bad}, set()),
    ],
)
def test_only_what_is_meant_is_tried_again(
    wide: Yard, choice: dict[str, Any], left: set[int]
) -> None:
    bad = {101, 205}
    handle = wide.run(failing_on(bad), chunk_size=100, max_retries=0)
    bad.clear()
    handle.retry(**choice)
    wide.settle(handle)
    assert quarantined(handle) == left
    assert handle.status() is (RunStatus.PARTIAL if left else RunStatus.SUCCEEDED)
    assert {row for row, version in wide.versions().items() if version != 1} == left


def test_a_retry_that_means_nothing_is_refused(wide: Yard) -> None:
    handle = wide.submit(wide.job(failing_on({101}), chunk_size=100, max_retries=0))
    with pytest.raises(StateError, match="still running: what failed can be retried when it has"):
        handle.retry()
    wide.settle(handle)
    for choice in ({"key": "[102]"}, {"chunk": 3}, {"error": "KeyError"}):
        with pytest.raises(StateError, match=r"Nothing of run .* has failed (with|in)"):
            handle.retry(**choice)
    assert handle.status() is RunStatus.PARTIAL
    assert handle.record().round == 1


def test_a_retry_waits_for_another_run_of_the_same_job(wide: Yard) -> None:
    job = wide.job(failing_on({101}), chunk_size=100, max_retries=0)
    first = wide.submit(job)
    wide.settle(first)
    second = wide.submit(job)
    with pytest.raises(OverlapError, match="goes on"):
        first.retry()
    assert first.status() is RunStatus.PARTIAL, "nothing was changed"
    assert quarantined(first) == {101}
    wide.settle(second)
    first.retry()


def test_two_operators_retry_at_once(wide: Yard) -> None:
    bad = {101}
    handle = wide.run(failing_on(bad), chunk_size=100, max_retries=0)
    bad.clear()
    results = together(handle.retry, handle.retry)
    assert sorted(type(one).__name__ for one in results) == ["Retried", "StateError"]
    wide.settle(handle)
    assert handle.record().round == 2
    assert wide.notices() == ["partial 299", "succeeded 300"]


def test_a_callback_that_failed_is_tried_again_by_itself(yard: Yard) -> None:
    broken = [True]

    def finished(run: FinishedRun) -> None:
        tell(run)
        run.session.flush()
        if broken[0]:
            raise Bad("no mail server")

    handle = yard.run(finished=finished, max_retries=1)
    record = handle.record()
    assert record.status is RunStatus.FAILED
    assert record.callback_failed
    assert "no mail server" in (record.reason or "")
    assert yard.notices() == []
    with pytest.raises(StateError, match=f"'breakbulk finish {handle.id}' tries that again"):
        handle.retry()
    broken[0] = False
    assert handle.finish() is RunStatus.FINISHING
    yard.settle(handle)
    assert handle.status() is RunStatus.SUCCEEDED
    assert yard.notices() == ["succeeded 25"]
    assert handle.record().round == 1
    with pytest.raises(StateError, match="there is nothing to finish"):
        handle.finish()


def test_exceptions_that_are_not_worth_another_try(yard: Yard) -> None:
    tries: Counter[str] = Counter()

    def process(chunk: Chunk[Goods]) -> None:
        tries[f"{chunk.number}/{len(list(chunk))}"] += 1
        if chunk.number == 2:
            raise Bad
        touch(chunk)

    handle = yard.run(process, max_retries=5, give_up_for=Bad, on_failure="skip")
    assert (tries["2/10"], handle.status()) == (1, RunStatus.PARTIAL)
    tries.clear()
    handle = yard.run(process, max_retries=5, retry_for=(OSError,), on_failure="skip")
    assert tries["2/10"] == 1
    tries.clear()
    handle = yard.run(process, max_retries=2, retry_for=(OSError, Exception), on_failure="skip")
    assert tries["2/10"] == 3
