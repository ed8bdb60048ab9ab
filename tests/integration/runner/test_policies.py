"""What becomes of a chunk that fails, or says itself what is to become of it."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import update

from breakbulk import CancelRun, RunStatus, Snooze
from tests.support.waiting import wait_for
from tests.support.yard import Boom, Goods, Notice, Yard, failing, touch

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from breakbulk import Chunk, FinishedRun


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
    assert failure.error.endswith("yard.Boom")
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
