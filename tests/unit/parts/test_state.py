"""What an attempt leaves for the next one comes back as it was."""

from __future__ import annotations

from datetime import UTC, datetime

from breakbulk.parts.state import State


def test_nothing_was_left() -> None:
    assert State.read(None) == State()


def test_it_comes_back() -> None:
    left = State(
        step=2,
        value=datetime(2026, 1, 1, tzinfo=UTC),
        retries=3,
        args=(1, "x"),
        kwargs={"y": None},
        limits={"time_limit": 9.0},
        outgoing=("a", "b"),
    )
    assert State.read(left.write()) == left
    assert State.read(State(retries=1).write()) == State(retries=1)
