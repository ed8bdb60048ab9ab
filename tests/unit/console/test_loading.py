"""How far an iterable has been read: live on a terminal, else now and then as a line."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

from breakbulk.console.loading import Loading

if TYPE_CHECKING:
    import pytest


class _Clock:
    """A clock that a test turns."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class _Terminal(io.StringIO):
    """A terminal that keeps what is drawn on it."""

    def isatty(self) -> bool:
        return True


def test_lines_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    clock = _Clock()
    with Loading(clock) as loading:
        loading(7, 1_000)
        assert capsys.readouterr().err == "", "it may be over in a moment"
        for second in range(1, 6):
            clock.now = float(second)
            loading(7, 1_000 * second)
    told = capsys.readouterr()
    assert told.err.splitlines() == [
        "Run 7 is loading, 2,000 items.",
        "Run 7 is loading, 4,000 items.",
    ]
    assert told.out == ""


def test_a_live_count_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = _Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with Loading() as loading:
        loading(7, 1_000)
        loading(7, 12_345)
    drawn = terminal.getvalue()
    assert "Run 7 is loading, 12,345 items" in drawn
    assert drawn.endswith("\x1b[2K"), "the line is taken away: what comes next says it all"


def test_nothing_where_there_is_nothing_to_read(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = _Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with Loading():
        pass
    assert terminal.getvalue() == ""
