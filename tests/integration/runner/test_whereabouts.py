"""Log records say which run, chunk, attempt and lane they are of."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from breakbulk import LogContext
from breakbulk.runner.whereabouts import LOG_FORMAT, NAMES
from tests.support.yard import failing, tell, touch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from breakbulk import Chunk, FinishedRun
    from tests.support.yard import Goods, Yard

_own = logging.getLogger("shop.prices")


class Kept(logging.Handler):
    """Keeps the records that it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def places(self, message: str) -> list[tuple[Any, ...]]:
        """Where records whose message begins like this are from."""
        found = [one for one in self.records if one.getMessage().startswith(message)]
        return [tuple(getattr(one, name) for name in NAMES) for one in found]


@pytest.fixture
def kept() -> Iterator[Kept]:
    handler = Kept()
    handler.addFilter(LogContext())
    root = logging.getLogger()
    root.addHandler(handler)
    yield handler
    root.removeHandler(handler)


def test_code_that_knows_nothing_of_us_says_where_it_is(yard: Yard, kept: Kept) -> None:
    def process(chunk: Chunk[Goods]) -> None:
        touch(chunk)
        _own.warning("recalculated")
        chunk.log.warning("through the chunk")

    def finished(run: FinishedRun) -> None:
        tell(run)
        _own.warning("all is done")

    handle = yard.run(process, finished=finished)
    run = (handle.id, handle.job)
    expected = [(*run, str(number), 1, 0) for number in range(1, 4)]
    assert kept.places("recalculated") == expected
    assert kept.places("through the chunk") == expected
    assert kept.places("all is done") == [(*run, "-", 1, 0)]


def test_what_a_lane_says_of_a_chunk_has_its_place(yard: Yard, kept: Kept) -> None:
    handle = yard.run(failing(1))
    (place,) = kept.places(f"run {handle.id}: chunk 2 failed")
    assert place == (handle.id, handle.job, "2", 1, 0)


def test_outside_there_is_no_place(kept: Kept) -> None:
    _own.warning("somewhere")
    assert kept.places("somewhere") == [("-",) * 5]


def test_what_a_record_has_already_stays() -> None:
    record = logging.makeLogRecord({"run": "a marathon"})
    assert LogContext(missing=None).filter(record)
    assert record.__dict__["run"] == "a marathon"
    assert record.__dict__["chunk"] is None


def test_the_format_for_celery_can_be_filled_in() -> None:
    record = logging.makeLogRecord({"msg": "well", "levelname": "INFO", "processName": "Main"})
    LogContext().filter(record)
    shown = logging.Formatter(LOG_FORMAT).format(record)
    assert shown.endswith("[run - chunk - attempt - lane -] well")


def test_only_the_last_try_is_an_error(yard: Yard, kept: Kept) -> None:
    yard.run(failing(9), max_retries=2)
    told = [one for one in kept.records if "chunk 2" in one.getMessage()]
    levels = [one.levelname for one in told if one.exc_info]
    assert levels[:3] == ["WARNING", "WARNING", "ERROR"]
    # Not once more on the way down to each row.
    assert levels.count("ERROR") == 1
