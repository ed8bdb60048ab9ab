"""What becomes of a chunk, and of a run, when something fails."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select, text, update

from breakbulk import CancelRun, RunStatus, Snooze
from breakbulk.errors import KeyChanged, StateError
from breakbulk.settings import Settings
from tests.support.waiting import wait_for
from tests.support.yard import Goods, Notice, Yard, tell, together, touch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Engine

    from breakbulk import Chunk, FinishedRun


class Boom(Exception):
    pass


def failing(times: int, number: int = 2) -> Callable[[Chunk[Goods]], None]:
    """A process that fails that often in one chunk, after it has changed rows."""

    def process(chunk: Chunk[Goods]) -> None:
        touch(chunk)
        chunk.session.flush()
        if chunk.number == number and chunk.attempt <= times:
            raise Boom(f"attempt {chunk.attempt}")

    return process


def test_a_chunk_that_fails_is_tried_again_and_its_changes_are_undone(yard: Yard) -> None:
    handle = yard.run(failing(2))
    yard.assert_proper(handle)
    record = handle.record()
    assert record.summary is not None
    assert (record.summary.rows_done, record.summary.attempts_failed) == (25, 2)
    assert [(one.number, one.attempt, one.message) for one in handle.failures()] == [
        (2, 2, "attempt 2"),
        (2, 1, "attempt 1"),
    ]
    assert [chunk.attempt for chunk in handle.chunks()] == [1, 3, 1]


def test_a_chunk_waits_its_delay(yard: Yard) -> None:
    handle = yard.submit(yard.job(failing(1), retry_delay=60))
    crew = yard.first_crew
    crew.work()
    assert handle.status() is RunStatus.RUNNING
    (waiting,) = yard.rows_of("waiting")
    (failure,) = handle.failures()
    wait = waiting["not_before"] - failure.at
    assert timedelta(seconds=59) < wait < timedelta(seconds=62)
    assert not crew.work(), "nobody is needed before its time"
    assert handle.progress().chunks_waiting == 1
    with yard.transaction() as connection:
        table = yard.ledger.database.schema.waiting
        connection.execute(update(table).values(not_before=failure.at))
    yard.settle(handle)
    yard.assert_proper(handle)


@pytest.mark.parametrize("retries", [0, 2])
def test_a_chunk_that_never_succeeds_is_given_up(yard: Yard, retries: int) -> None:
    handle = yard.run(failing(99), max_retries=retries, on_failure="skip")
    record = handle.record()
    assert record.status is RunStatus.PARTIAL
    assert record.summary is not None
    assert record.summary.rows_done == 15
    assert record.summary.rows_failed == 10
    assert record.summary.chunks_failed == 1
    assert record.summary.attempts_failed == retries + 1
    assert list(yard.versions().values()) == [1] * 10 + [0] * 10 + [1] * 5
    assert yard.notices() == ["partial 15"]
    assert handle.audit().clean
    assert yard.count("waiting") == yard.count("lanes") == 0


def test_a_failure_is_written_down_so_that_it_can_be_read(yard: Yard) -> None:
    def process(chunk: Chunk[Goods]) -> None:
        secret = "hush-hush"  # noqa: F841  (a local variable)
        raise Boom("NUL \x00, lone \ud800, long " + "x" * 10_000)

    handle = yard.run(process, max_retries=0, on_failure="skip")
    assert handle.status() is RunStatus.PARTIAL
    (failure, *_) = handle.failures()
    assert failure.error.endswith("test_policies.Boom")
    assert failure.message.startswith(r"NUL \x00, lone \ud800, long xxx")
    assert len(failure.message) < 2_200
    row = yard.rows_of("failures")[0]
    assert "in process" in row["traceback"]
    assert "hush-hush" not in row["traceback"].replace('secret = "hush-hush"', "")
    assert (row["after"], row["upto"]) in {(None, "[10]"), ("[10]", "[20]"), ("[20]", "[25]")}


def test_what_cannot_even_be_printed_is_a_failure_like_any(yard: Yard) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise ValueError("no words")

    def process(chunk: Chunk[Goods]) -> None:
        raise Mute

    handle = yard.run(process, max_retries=0, on_failure="skip")
    assert handle.status() is RunStatus.PARTIAL
    assert "cannot be printed" in handle.failures()[0].message


def test_a_job_that_exits_its_process_cannot_loop_for_ever(yard: Yard) -> None:
    def process(chunk: Chunk[Goods]) -> None:
        touch(chunk)
        if chunk.number == 2:
            raise SystemExit(3)

    handle = yard.submit(yard.job(process, max_retries=2, on_failure="skip"))
    crew = yard.crew()

    def ended() -> bool:
        try:
            crew.work()
        except SystemExit:
            exits.append(1)
        return handle.status() is RunStatus.PARTIAL

    exits: list[int] = []
    wait_for(ended, message="the run to end")
    assert len(exits) == 3
    assert {one.error for one in handle.failures()} == {"SystemExit"}
    assert list(yard.versions().values()) == [1] * 10 + [0] * 10 + [1] * 5


def test_what_is_no_exception_cannot_loop_for_ever_either(yard: Yard) -> None:
    def process(chunk: Chunk[Goods]) -> None:
        raise asyncio.CancelledError

    handle = yard.submit(yard.job(process, max_retries=1, on_failure="skip"))
    crew = yard.crew()

    def ended() -> bool:
        with suppress(asyncio.CancelledError):
            crew.work()
        return handle.status() is RunStatus.PARTIAL

    wait_for(ended, message="the run to end")
    assert {one.error for one in handle.failures()} == {"asyncio.exceptions.CancelledError"}


def test_an_exit_in_a_shutdown_costs_no_attempt(yard: Yard) -> None:
    stop = threading.Event()

    def process(chunk: Chunk[Goods]) -> None:
        touch(chunk)
        if chunk.number == 2 and not stop.is_set():
            stop.set()
            raise SystemExit

    from dataclasses import replace

    handle = yard.submit(yard.job(process, max_retries=0))
    crew = yard.crew()
    dying = replace(crew, process=replace(crew.process, stopping=stop.is_set))
    with pytest.raises(SystemExit):
        dying.work()
    assert yard.count("lanes") == 0
    assert handle.failures() == []
    yard.settle(handle)
    yard.assert_proper(handle)


# What process() may raise


def test_a_snoozed_chunk_costs_no_attempt(yard: Yard) -> None:
    snoozes: list[int] = []

    def process(chunk: Chunk[Goods]) -> None:
        touch(chunk)
        if chunk.number == 2 and len(snoozes) < 3:
            snoozes.append(chunk.attempt)
            raise Snooze(0)

    handle = yard.run(process, max_retries=0)
    yard.assert_proper(handle)
    assert snoozes == [1, 1, 1]
    assert handle.failures() == []
    assert [row["snoozes"] for row in yard.rows_of("chunks", "number = 2")] == [3]


def test_a_snooze_is_as_long_as_it_says(yard: Yard) -> None:
    def process(chunk: Chunk[Goods]) -> None:
        raise Snooze(60)

    handle = yard.submit(yard.job(process))
    yard.first_crew.work()
    (waits, *_) = (row["not_before"] for row in yard.rows_of("waiting"))
    assert waits - handle.record().submitted_at > timedelta(seconds=59)
    assert handle.status() is RunStatus.RUNNING


def test_snoozes_are_bounded(clean_engine: Engine) -> None:
    yard = Yard(clean_engine, rows=25, shared=True, max_snoozes=2)
    tries: Counter[int] = Counter()

    def process(chunk: Chunk[Goods]) -> None:
        tries[chunk.number] += 1
        raise Snooze(0)

    handle = yard.run(process, max_retries=0, on_failure="skip")
    assert handle.status() is RunStatus.PARTIAL
    assert set(tries.values()) == {3}
    assert handle.failures()[0].error == "breakbulk.errors.Snooze"
    assert handle.failures()[0].message == "snoozed for 0 s"
    yard.close()


def test_a_job_may_cancel_its_run(yard: Yard) -> None:
    told: list[tuple[str, str | None]] = []

    def process(chunk: Chunk[Goods]) -> None:
        touch(chunk)
        if chunk.number == 2:
            chunk.session.flush()
            raise CancelRun("prices are frozen today")

    def failed(run: FinishedRun) -> None:
        told.append((str(run.status), run.reason))
        run.session.add(Notice(run=run.id, words="cancelled"))

    handle = yard.run(process, failed=failed)
    record = handle.record()
    assert (record.status, record.reason) == (RunStatus.CANCELLED, "prices are frozen today")
    assert told == [("cancelled", "prices are frozen today")]
    assert yard.notices() == ["cancelled"]
    assert list(yard.versions().values()) == [1] * 10 + [0] * 15
    assert handle.audit().clean


def test_a_cancelled_run_needs_no_twin(yard: Yard) -> None:
    def process(chunk: Chunk[Goods]) -> None:
        raise CancelRun("no")

    handle = yard.run(process)
    assert handle.status() is RunStatus.CANCELLED
    assert yard.notices() == []
    assert {row["status"] for row in yard.rows_of("chunks")} == {"cancelled"}


def test_a_job_that_changes_its_key_is_held(yard: Yard) -> None:
    def process(chunk: Chunk[Goods]) -> None:
        for row in chunk:
            row.version += 1
            row.id += 1000

    handle = yard.run(process)
    record = handle.record()
    assert record.status is RunStatus.HELD
    assert "process() changes goods.id, by which the rows are walked" in str(record.reason)
    assert set(yard.versions()) == set(range(1, 26))
    assert set(yard.versions().values()) == {0}
    assert handle.failures() == []
    assert handle.cancel() is RunStatus.CANCELLED
    with pytest.raises(StateError):
        handle.resume()


def test_a_key_that_is_changed_by_a_statement_is_held_too(yard: Yard) -> None:
    def process(chunk: Chunk[Goods]) -> None:
        chunk.session.execute(update(Goods).where(chunk.where).values(id=Goods.id + 1000))

    handle = yard.run(process)
    assert handle.status() is RunStatus.HELD
    assert set(yard.versions()) == set(range(1, 26))


def test_a_changed_key_counts_although_the_error_is_swallowed(yard: Yard) -> None:
    def process(chunk: Chunk[Goods]) -> None:
        try:
            for row in chunk:
                row.version += 1
                row.id += 1000
            chunk.session.flush()
        except KeyChanged:
            pass

    handle = yard.run(process, max_retries=0)
    assert handle.status() in {RunStatus.HELD, RunStatus.PARTIAL}
    assert set(yard.versions()) == set(range(1, 26))
    assert set(yard.versions().values()) == {0}


def test_another_source_than_at_submit_is_held_and_goes_on_when_it_is_right_again(
    yard: Yard,
) -> None:
    statements = [select(Goods)]
    handle = yard.submit(yard.job(source=lambda: statements[-1]))
    statements.append(select(Goods).where(Goods.version == 0))
    yard.settle(handle)
    record = handle.record()
    assert record.status is RunStatus.HELD
    assert str(record.reason).startswith("source changed:")
    assert set(yard.versions().values()) == {0}
    statements.pop()
    assert handle.resume() is RunStatus.RUNNING
    yard.settle(handle)
    yard.assert_proper(handle)


def test_a_source_that_raises_is_held_with_what_it_raised(yard: Yard) -> None:
    broken: list[Boom] = []

    def source() -> Any:
        if broken:
            raise broken[0]
        return select(Goods)

    handle = yard.submit(yard.job(source=source))
    broken.append(Boom("no table of prices today"))
    yard.settle(handle)
    assert handle.status() is RunStatus.HELD
    assert "no table of prices today" in str(handle.record().reason)
    broken.clear()
    handle.resume()
    yard.settle(handle)
    yard.assert_proper(handle)


def test_a_job_that_cannot_be_built_any_more_is_held(yard: Yard) -> None:
    handle = yard.submit(job := yard.job())

    def broken(_self: object, **_: object) -> None:
        raise Boom("new code, new rules")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job, "__init__", broken)
        yard.settle(handle)
    assert handle.status() is RunStatus.HELD
    assert "new code, new rules" in str(handle.record().reason)
    handle.resume()
    yard.settle(handle)
    yard.assert_proper(handle)


def test_parameters_that_the_code_does_not_know_any_more_are_held(yard: Yard) -> None:
    handle = yard.submit(yard.job())
    runs = yard.ledger.database.schema.runs
    with yard.transaction() as connection:
        connection.execute(update(runs).values(parameters='{"gone": 1}'))
    yard.settle(handle)
    assert handle.status() is RunStatus.HELD
    assert "has no parameter 'gone'" in str(handle.record().reason)


# What is nobody's fault


def test_postgres_a_deadlock_costs_no_attempt(postgres_yard: Yard) -> None:
    """A real one: the chunk and somebody else each want the row that the other has locked."""
    yard = postgres_yard
    tries: list[int] = []
    mine, theirs = threading.Event(), threading.Event()

    def process(chunk: Chunk[Goods]) -> None:
        if chunk.number != 1:
            return touch(chunk)
        tries.append(chunk.attempt)
        # The chunk is the one that is chosen to fail: it begins to wait last and looks first.
        chunk.session.execute(text("SET LOCAL deadlock_timeout = '10ms'"))
        chunk.session.execute(update(Goods).where(Goods.id == 1).values(version=1))
        mine.set()
        assert theirs.wait(20)
        chunk.session.execute(
            update(Goods).where(chunk.where, Goods.id > 1).values(version=Goods.version + 1)
        )
        return None

    def other() -> None:
        with yard.engine.begin() as connection:
            connection.execute(text("SET LOCAL deadlock_timeout = '60s'"))
            connection.execute(update(Goods).where(Goods.id == 5).values(code="locked"))
            assert mine.wait(20)
            threading.Thread(target=let_go).start()
            connection.execute(update(Goods).where(Goods.id == 1).values(code="both"))

    def let_go() -> None:
        wait_for(lambda: waits_for_lock(yard), message="the other to wait for the chunk")
        theirs.set()

    handle = yard.submit(yard.job(process, max_retries=0))
    results = together(other, yard.crew().work)
    assert not [one for one in results if isinstance(one, Exception)], results
    yard.settle(handle)
    yard.assert_proper(handle)
    assert tries == [1, 1], "the same attempt, once more"
    assert handle.failures() == []


def waits_for_lock(yard: Yard) -> bool:
    with yard.engine.connect() as connection:
        query = text(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND wait_event_type = 'Lock'"
        )
        return bool(connection.execute(query).scalar_one())


@pytest.mark.parametrize("state", ["40001", "40P01", "55P03"])
def test_postgres_what_does_not_go_away_holds_the_run_in_the_end(
    postgres_ground: Engine, state: str
) -> None:
    from tests.support.yard import wipe

    wipe(postgres_ground)
    yard = Yard(postgres_ground, rows=5, shared=True, transient_seconds=0)

    def process(chunk: Chunk[Goods]) -> None:
        raising = f"DO $$ BEGIN RAISE EXCEPTION 'again' USING ERRCODE = '{state}'; END $$"
        chunk.session.execute(text(raising))

    handle = yard.run(process, max_retries=1)
    assert handle.status() is RunStatus.HELD, "nobody splits a chunk for what is not its fault"
    assert "does not get on" in str(handle.record().reason)
    assert len(handle.failures()) == 2
    assert handle.errors() == []
    yard.close()


@pytest.mark.parametrize("state", ["25006", "53100", "53300"])
def test_postgres_a_database_that_takes_no_writes_holds_the_run(
    postgres_yard: Yard, state: str
) -> None:
    yard = postgres_yard
    broken = [True]

    def process(chunk: Chunk[Goods]) -> None:
        touch(chunk)
        if broken:
            raising = f"DO $$ BEGIN RAISE EXCEPTION 'full' USING ERRCODE = '{state}'; END $$"
            chunk.session.execute(text(raising))

    handle = yard.run(process, max_retries=0)
    assert handle.status() is RunStatus.HELD
    assert "the database takes no writes" in str(handle.record().reason)
    assert [chunk.attempt for chunk in handle.chunks()] == [0]
    broken.clear()
    handle.resume()
    yard.settle(handle)
    yard.assert_proper(handle)


def test_postgres_a_connection_that_is_cut_costs_no_attempt(postgres_yard: Yard) -> None:
    yard = postgres_yard
    cut: list[int] = []

    def process(chunk: Chunk[Goods]) -> None:
        touch(chunk)
        chunk.session.flush()
        if chunk.number == 2 and len(cut) < 2:
            cut.append(chunk.attempt)
            pid = chunk.session.execute(text("SELECT pg_backend_pid()")).scalar_one()
            with yard.engine.connect() as connection:
                connection.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
            chunk.session.execute(text("SELECT 1"))

    handle = yard.run(process, max_retries=0)
    yard.assert_proper(handle)
    assert cut == [1, 1]
    assert handle.failures() == []
    yard.engine.dispose()


@pytest.mark.parametrize("happened", [True, False])
def test_postgres_a_connection_that_is_cut_in_commit_is_settled(
    postgres_yard: Yard, monkeypatch: pytest.MonkeyPatch, happened: bool
) -> None:
    from psycopg import OperationalError
    from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

    yard = postgres_yard
    commit: Callable[[Any, Any], None] = PGDialect_psycopg.do_commit
    armed: list[bool] = []

    def do_commit(dialect: Any, connection: Any) -> None:
        if not armed:
            commit(dialect, connection)
            return
        armed.pop()
        driver = connection.driver_connection
        if happened:
            commit(dialect, connection)
        driver.close()
        raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(yard.engine.dialect, "do_commit", do_commit.__get__(yard.engine.dialect))
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
    assert sum(row["rows"] for row in yard.rows_of("tallies")) <= 25
    yard.engine.dispose()


# The callback


def test_a_callback_that_raises_is_tried_by_the_same_policy_then_fails_the_run(
    yard: Yard,
) -> None:
    keys: list[tuple[int, str]] = []

    def finished(run: FinishedRun) -> None:
        keys.append((run.attempt, run.idempotency_key))
        tell(run)
        run.session.flush()
        raise Boom("no mail today")

    handle = yard.run(finished=finished, max_retries=2)
    record = handle.record()
    assert record.status is RunStatus.FAILED
    assert record.reason is not None
    assert "the callback failed 3 times" in record.reason
    assert "no mail today" in record.reason
    assert [attempt for attempt, _ in keys] == [1, 2, 3]
    assert len({key for _, key in keys}) == 1
    assert yard.notices() == []
    assert set(yard.versions().values()) == {1}
    assert [one.number for one in handle.failures()] == [None, None, None]
    assert record.summary is not None
    assert record.summary.rows_done == 25
    assert record.summary.attempts_failed == 0, "no chunk's"


def test_a_callback_is_tried_again_until_it_succeeds(yard: Yard) -> None:
    def finished(run: FinishedRun) -> None:
        tell(run)
        run.session.flush()
        if run.attempt < 3:
            raise Boom

    handle = yard.run(finished=finished)
    yard.assert_proper(handle)
    assert len(handle.failures()) == 2


def test_a_callback_that_exits_its_process_cannot_loop_for_ever(yard: Yard) -> None:
    def finished(run: FinishedRun) -> None:
        raise SystemExit

    handle = yard.submit(yard.job(finished=finished, max_retries=1))
    crew = yard.crew()

    def ended() -> bool:
        with suppress(SystemExit):
            crew.work()
        return handle.status() is RunStatus.FAILED

    wait_for(ended, message="the run to end")
    assert len(handle.failures()) == 2


def test_a_callback_whose_process_dies_each_time_cannot_loop_for_ever(clean_engine: Engine) -> None:
    class Death(BaseException):
        """Nobody hears of it: like kill -9, as far as the ledger can see."""

    yard = Yard(clean_engine, rows=25, shared=True, max_losses=2)
    calls: list[int] = []

    def finished(run: FinishedRun) -> None:
        calls.append(run.attempt)
        raise Death

    handle = yard.submit(yard.job(finished=finished, max_retries=1))
    crew = yard.crew()

    def ended() -> bool:
        with suppress(Death):
            crew.work()
        crew.tick()  # the steward frees the callback of a lane that is no more
        return handle.status() is RunStatus.FAILED

    wait_for(ended, message="the run to end")
    assert calls == [1, 2, 3, 4]
    assert "died" in str(handle.record().reason)
    yard.close()


def test_the_callback_sees_what_was_done(yard: Yard) -> None:
    seen: list[FinishedRun] = []
    handle = yard.run(failing(1), finished=seen.append)
    (run,) = seen
    assert (run.id, run.round, run.attempt, run.status) == (handle.id, 1, 1, "succeeded")
    assert (run.summary.rows_done, run.summary.chunks_done) == (25, 3)
    assert run.summary.attempts_failed == 1
    assert run.idempotency_key == f"breakbulk-{handle.id}-round-1"
    assert run.parameters == {"tag": ""}


def test_a_job_without_a_callback_ends_all_the_same(yard: Yard) -> None:
    handle = yard.run(finished=None)
    assert handle.status() is RunStatus.SUCCEEDED


# Obeyed


def test_a_pause_takes_effect_after_the_chunk_in_hand(yard: Yard) -> None:
    handles: list[Any] = []

    def process(chunk: Chunk[Goods]) -> None:
        touch(chunk)
        if chunk.number == 1:
            assert handles[0].pause() is RunStatus.PAUSING

    if yard.engine.dialect.name == "sqlite":
        # The chunk holds the only write lock, so the operator comes between two of them.
        handle = yard.submit(yard.job())
        handle.pause()
        yard.settle(handle)
        done = 0
    else:
        handle = yard.submit(yard.job(process))
        handles.append(handle)
        yard.settle(handle)
        done = 10
    assert handle.status() is RunStatus.PAUSED
    assert list(yard.versions().values()) == [1] * done + [0] * (25 - done)
    assert handle.resume() is RunStatus.RUNNING
    yard.settle(handle)
    yard.assert_proper(handle)


@pytest.mark.parametrize("before", ["running", "paused", "held"])
def test_a_run_can_be_cancelled_wherever_it_stands(yard: Yard, before: str) -> None:
    handle = yard.submit(yard.job())
    if before == "paused":
        handle.pause()
    if before == "held":
        with yard.transaction() as connection:
            yard.ledger.runs.move(
                connection, handle.id, RunStatus.HELD, actor="test", reason="for a test"
            )
    assert handle.cancel(reason="not today") is RunStatus.CANCELLED
    assert handle.cancel() is RunStatus.CANCELLED, "asking again is no mistake"
    assert handle.record().reason == "not today"
    yard.first_crew.work()
    assert set(yard.versions().values()) == {0}


def test_an_ended_run_can_be_neither_paused_nor_cancelled_nor_resumed(yard: Yard) -> None:
    handle = yard.run()
    for verb in (handle.pause, handle.cancel, handle.resume):
        with pytest.raises(StateError, match=rf"^Run {handle.id} .*succeeded"):
            verb()
    yard.assert_proper(handle)


# Sparse


def test_an_empty_table_is_done_at_once(clean_engine: Engine) -> None:
    yard = Yard(clean_engine, shared=True)
    handle = yard.run()
    assert handle.status() is RunStatus.SUCCEEDED
    assert handle.audit().clean
    assert handle.chunks() == []
    assert yard.notices() == ["succeeded 0"]
    progress = handle.progress()
    assert (progress.fraction, progress.total_is_exact) == (1.0, True)
    yard.close()


@pytest.mark.parametrize("chunk_size", [1, 10])
def test_one_row(clean_engine: Engine, chunk_size: int) -> None:
    yard = Yard(clean_engine, rows=1, shared=True)
    handle = yard.run(chunk_size=chunk_size)
    yard.assert_proper(handle)
    assert len(handle.chunks()) == 1
    yard.close()


def test_a_source_that_matches_nothing_covers_everything(yard: Yard) -> None:
    handle = yard.run(source=lambda: select(Goods).where(Goods.version > 99))
    assert handle.status() is RunStatus.SUCCEEDED
    assert handle.audit().clean
    (chunk,) = handle.chunks()
    assert (chunk.after, chunk.upto, chunk.rows) == (None, "[25]", 0)
    assert yard.notices() == ["succeeded 0"]


def test_one_match_far_away(clean_engine: Engine) -> None:
    yard = Yard(clean_engine, rows=5_000, shared=True)
    handle = yard.run(source=lambda: select(Goods).where(Goods.id == 4_321))
    assert handle.status() is RunStatus.SUCCEEDED
    assert handle.audit().clean
    assert [number for number, version in yard.versions().items() if version] == [4_321]
    yard.close()


@pytest.mark.parametrize("chunk_size", [25, 26, 24, 5])
def test_sizes_that_just_fit(yard: Yard, chunk_size: int) -> None:
    handle = yard.run(chunk_size=chunk_size)
    yard.assert_proper(handle)
    assert len(handle.chunks()) == -(-25 // chunk_size)


@pytest.mark.parametrize("rows", [2, 3, 4, 5])
@pytest.mark.parametrize("chunk_size", [1, 2])
def test_a_few_rows_end_as_well(clean_engine: Engine, rows: int, chunk_size: int) -> None:
    """Two rows, one a chunk: the walk had said "more" at the last key, and nobody ever less."""
    yard = Yard(clean_engine, rows=rows, shared=True)
    yard.assert_proper(yard.run(chunk_size=chunk_size))
    yard.close()


def test_rows_that_go_away_are_no_harm(yard: Yard) -> None:
    def process(chunk: Chunk[Goods]) -> None:
        touch(chunk)
        if chunk.number == 1:
            for number in (11, 12, 25):
                row = chunk.session.get(Goods, number)
                chunk.session.delete(row)

    handle = yard.run(process, finished=None)
    assert handle.status() is RunStatus.SUCCEEDED
    assert handle.audit().clean
    assert set(yard.versions().values()) == {1}
    assert len(yard.versions()) == 22


# Progress


def test_tallies_add_up_and_folding_them_loses_nothing(clean_engine: Engine) -> None:
    yard = Yard(clean_engine, rows=100, shared=True, tally_seconds=0)
    handle = yard.run(failing(1))
    assert sum(row["rows"] for row in yard.rows_of("tallies")) == 100
    before = yard.count("tallies")
    for _ in range(2):
        with yard.transaction() as connection:
            yard.ledger.reports.fold_tallies(connection, -60)
    assert yard.count("tallies") < before
    assert sum(row["rows"] for row in yard.rows_of("tallies")) == 100
    assert sum(row["chunks"] for row in yard.rows_of("tallies")) == 10
    assert handle.progress().rows_done == 100
    yard.close()


def test_defaults_are_those_of_celery() -> None:
    assert Settings().max_snoozes == 1000


@pytest.fixture
def small_pool(database_url: str) -> Iterator[Yard]:
    from sqlalchemy import create_engine

    engine = create_engine(database_url, pool_size=1, max_overflow=0, pool_timeout=3)
    yard = Yard(engine, rows=25)
    yield yard
    yard.close()


def test_one_connection_is_enough(small_pool: Yard) -> None:
    yard = small_pool
    yard.assert_proper(yard.run(failing(1)))

    def process(chunk: Chunk[Goods]) -> None:
        chunk.session.commit()

    assert yard.run(process).status() is RunStatus.HELD
