"""Exceptions that were made to do harm are failures like any other, and cost no run its way."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from breakbulk import CancelRun, RunStatus
from tests.support.yard import Goods, Yard, touch

if TYPE_CHECKING:
    from collections.abc import Callable

    from breakbulk import Chunk


class Silent(Exception):
    """Its message takes the process down with it."""

    def __str__(self) -> str:
        raise SystemExit(3)


class Stubborn(Exception):
    """Its message has methods of its own."""

    def __str__(self) -> str:
        class Words(str):
            __slots__ = ()

            def replace(self, *_: Any, **__: Any) -> str:
                raise RuntimeError("no")

        return Words("stubborn")


class Stranger(Exception):
    """Its name is no text that a database could keep."""


Stranger.__qualname__ = "Str\x00\ud800nger" + "x" * 10_000


class Unpacked(Exception):
    """It cannot be sent to another process."""

    def __reduce__(self) -> Any:
        raise RuntimeError("no")


class Nameless:
    """What an exception is about."""

    def __repr__(self) -> str:
        raise RuntimeError("no words")


def _of(error: BaseException) -> Callable[[], None]:
    def raises() -> None:
        raise error

    return raises


def _from_a_file_with_another_encoding() -> None:
    place: dict[str, Any] = {}
    exec(compile("def fail(): raise ValueError('x')", "/srv/\udcff.py", "exec"), place)  # noqa: S102
    place["fail"]()


def _noted() -> None:
    error = ValueError("noted")
    error.__notes__ = [Nameless(), "\x00", "y" * 1_000_000]  # type: ignore[list-item]
    raise error


def _chained() -> None:
    error = ValueError("first")
    for number in range(5_000):
        later = ValueError(str(number))
        later.__cause__, error = error, later
    raise error


_HOSTILE = {
    "silent": _of(Silent()),
    "stubborn": _of(Stubborn()),
    "stranger": _of(Stranger()),
    "unpacked": _of(Unpacked()),
    "nameless": _of(ValueError(Nameless())),
    "megabytes": _of(ValueError("m" * 5_000_000)),
    "nul": _of(ValueError("\x00" * 3_000)),
    "file": _from_a_file_with_another_encoding,
    "noted": _noted,
    "chained": _chained,
    "group": _of(ExceptionGroup("many", [ValueError(str(n)) for n in range(1_000)])),
    "no exceptions": _of(BaseExceptionGroup("exits", [SystemExit(), GeneratorExit()])),
    "cancelled": _of(asyncio.CancelledError()),
    "memory": _of(MemoryError()),
}


@pytest.mark.parametrize("harm", _HOSTILE.values(), ids=_HOSTILE)
def test_it_fails_its_own_row_and_nothing_else(yard: Yard, harm: Callable[[], None]) -> None:
    def process(chunk: Chunk[Goods]) -> None:
        touch(chunk)
        if chunk.number == 2:
            harm()

    handle = yard.run(process, max_retries=1, on_failure="skip")
    record = handle.record()
    assert record.status is RunStatus.PARTIAL, record.reason
    assert list(yard.versions().values()) == [1] * 10 + [0] * 10 + [1] * 5
    failures = yard.rows_of("failures")
    assert [row["attempt"] for row in failures] == [1, 2]
    for row in failures:
        bounds = {"error": 300, "place": 300, "message": 13_000, "traceback": 17_000}
        assert {name for name, most in bounds.items() if len(row[name] or "") > most} == set()


@pytest.mark.parametrize(
    ("reason", "kept"),
    [
        ("nul \x00", r"nul \x00"),
        ("half \ud800", r"half \ud800"),
        (12, "12"),
        (Nameless(), "(its message cannot be printed: RuntimeError)"),
    ],
    ids=["nul", "surrogate", "number", "nameless"],
)
def test_a_job_may_cancel_its_run_for_any_reason(yard: Yard, reason: Any, kept: str) -> None:
    def process(chunk: Chunk[Goods]) -> None:
        raise CancelRun(reason)

    handle = yard.run(process)
    record = handle.record()
    assert (record.status, record.reason) == (RunStatus.CANCELLED, kept)


def test_a_reason_is_kept_within_bounds(yard: Yard) -> None:
    handle = yard.submit(yard.job())
    assert handle.cancel(reason="begin \x00 \udcff" + "x" * 100_000 + "end") is RunStatus.CANCELLED
    reason = str(handle.record().reason)
    assert reason.startswith(r"begin \x00 \udcff")
    assert reason.endswith("end")
    assert len(reason) < 2_100
    assert handle.activity()[0].detail == reason
