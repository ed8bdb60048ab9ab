"""What is at work here, for code that is not handed it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import update

import breakbulk
from breakbulk import RunStatus, current_chunk, current_run
from breakbulk.errors import NothingAtWork
from tests.support.yard import Boom, Goods, Notice, Yard

if TYPE_CHECKING:
    from breakbulk import Chunk, FinishedRun


def count_once_more() -> None:
    """What is called far below ``process``."""
    chunk = current_chunk()
    chunk.session.execute(update(Goods).where(chunk.where).values(version=Goods.version + 1))


def test_code_below_process_changes_rows_with_the_chunk(yard: Yard) -> None:
    failed: list[int] = []

    def process(chunk: Chunk[Goods]) -> None:
        assert current_chunk() is chunk
        count_once_more()
        if chunk.number == 2 and not failed:
            failed.append(1)
            raise Boom

    def finished(run: FinishedRun) -> None:
        assert current_run() is run
        rows = run.summary.rows_done
        current_run().session.add(Notice(run=run.id, words=f"succeeded {rows}"))

    handle = yard.run(process, finished=finished)
    yard.assert_proper(handle)
    assert len(handle.failures()) == 1


@pytest.mark.parametrize("ask", [current_chunk, current_run])
def test_outside_there_is_nothing(ask: Any) -> None:
    with pytest.raises(NothingAtWork, match=r"^There is no current .* here: ask for it in"):
        ask()


def test_it_is_of_this_thread_and_over_when_the_call_is(yard: Yard) -> None:
    asked: list[Exception] = []

    def ask() -> None:
        try:
            current_chunk()
        except NothingAtWork as error:
            asked.append(error)

    def process(_chunk: Chunk[Goods]) -> None:
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
        raise Boom

    handle = yard.run(process, max_retries=0, on_failure="skip", finished=lambda _run: ask())
    assert handle.status() is RunStatus.PARTIAL
    assert len(asked) == 4, "three chunks in another thread each, and the callback"
    ask()
    assert len(asked) == 5


def test_a_callback_has_a_run_and_no_longer_afterwards(yard: Yard) -> None:
    def failed(run: FinishedRun) -> None:
        assert current_run() is run
        assert run.status is RunStatus.FAILED

    def process(_chunk: Chunk[Goods]) -> None:
        with pytest.raises(NothingAtWork):
            current_run()
        raise Boom

    handle = yard.run(process, failed=failed, max_retries=0, on_failure="stop")
    assert handle.status() is RunStatus.FAILED
    with pytest.raises(NothingAtWork):
        current_run()


def test_they_are_loaded_on_demand() -> None:
    assert {"current_chunk", "current_run"} <= set(breakbulk.__all__)
