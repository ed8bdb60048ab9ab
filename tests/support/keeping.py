"""What tests of jobs that keep results have in common."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from psycopg import OperationalError

from breakbulk import Items
from breakbulk.domain.verdict import Kept
from breakbulk.ledger.keptmarks import KeptMarks
from breakbulk.runner.sending import send_all
from tests.support.yard import Boom, Yard

if TYPE_CHECKING:
    from collections.abc import Callable

    from breakbulk import RunHandle
    from breakbulk.runner.keeping import ItemChunk


class Other(Exception):
    """Another one of what such a job reports."""


def doubled(chunk: ItemChunk) -> Kept:
    """A process that keeps twice its item."""
    (item,) = chunk
    return Kept(json.dumps(item * 2))


def submit(
    yard: Yard, process: Callable[[ItemChunk], object] = doubled, count: int = 3, **options: Any
) -> RunHandle:
    """Submit a job that keeps results, of the items 1 to a number."""
    job = yard.job(process, source=lambda: Items(range(1, count + 1)), keeps=True, **options)
    return yard.submit(job)


def kept(yard: Yard) -> dict[int, str]:
    """Results by their numbers."""
    return {row["number"]: row["value"] for row in yard.rows_of("results")}


def sent(yard: Yard) -> list[str]:
    """What is sent, in order."""
    found: list[str] = []
    send_all(yard.runtime, lambda signature, _run, _id: found.append(signature))
    return found


def fails_once(monkeypatch: pytest.MonkeyPatch, kind: type[Any], method: str) -> None:
    """Let a method of the ledger raise at its first call."""
    right, called = getattr(kind, method), []

    def once(*given: Any, **named: Any) -> Any:
        called.append(1)
        if len(called) == 1:
            raise Boom(method)
        return right(*given, **named)

    monkeypatch.setattr(kind, method, once)


def lose_answer(monkeypatch: pytest.MonkeyPatch, *, written: bool) -> None:
    """Lose the answer to the first mark that is a transaction of its own, and the connection.

    Args:
        written: whether the mark came through.
    """
    right, lost = KeptMarks.mark_done, list[int]()

    def mark(marks: KeptMarks, connection: Any, *given: Any) -> Any:
        if lost:
            return right(marks, connection, *given)
        lost.append(1)
        if written:
            right(marks, connection, *given)
        connection.connection.driver_connection.close()
        raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(KeptMarks, "mark_done", mark)
