"""What is shown of a run, and how often."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any, cast

import pytest
from rich.console import Console

from breakbulk.app import RunHandle
from breakbulk.console import watching
from breakbulk.console.bar import Bar
from breakbulk.console.exits import exit_code_of
from breakbulk.console.views import Events, Lines, Nothing, view_of
from breakbulk.domain.progress import Progress
from breakbulk.domain.run import Run
from breakbulk.domain.status import RunStatus
from breakbulk.errors import LedgerUnreachable, WaitTimeout
from tests.unit.console.test_words import _RUNNING


class _Run:
    """As much of a run as a view looks at."""

    id = 7
    job = "shop.Reprice"


_RUN = cast("Run", _Run())


class _Clock:
    """A clock that a test turns."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class _Handle:
    """A run that looks different each time; an exception is raised."""

    id = 7

    def __init__(self, *looks: Progress | Exception) -> None:
        self._looks = list(looks)

    def progress(self) -> Progress:
        look = self._looks.pop(0) if len(self._looks) > 1 else self._looks[0]
        if isinstance(look, Exception):
            raise look
        return look

    def record(self) -> Any:
        return type("Record", (), {"status": RunStatus.HELD, "waits_for": None})


class _Seen(Nothing):
    """Remembers what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []

    def show(self, progress: Progress) -> None:
        self.seen.append(progress.status)

    def trouble(self, sentence: str) -> None:
        self.seen.append(sentence)


def _follow(*looks: Progress | Exception, **options: Any) -> tuple[Progress, list[Any]]:
    view = _Seen()
    handle = cast("RunHandle", _Handle(*looks))
    return watching.follow(handle, view, poll=0, **options), view.seen


def test_lines_come_every_2_seconds_and_at_each_change(capsys: pytest.CaptureFixture[str]) -> None:
    clock = _Clock()
    with Lines(_RUN, clock) as view:
        for second, status in ((0, "running"), (1, "running"), (2, "running"), (2.5, "pausing")):
            clock.now = second
            view.show(replace(_RUNNING, status=RunStatus(status)))
    captured = capsys.readouterr()
    assert [line.split(":")[0] for line in captured.err.splitlines()] == [
        "run 7 running",
        "run 7 running",
        "run 7 pausing",
    ]
    assert not captured.out


def test_events_go_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    with Events(_RUN) as view:
        view.show(_RUNNING)
    assert capsys.readouterr().out.startswith('{"event":"progress","run":7,"status":"running",')


def test_trouble_is_told_once_until_it_is_over(capsys: pytest.CaptureFixture[str]) -> None:
    with Lines(_RUN, _Clock()) as view:
        view.trouble("The database is away.")
        view.trouble("The database is away.")
        view.show(_RUNNING)
        view.trouble("The database is away.")
    told = [line for line in capsys.readouterr().err.splitlines() if "away" in line]
    assert told == ["The database is away. Trying again."] * 2


def test_bar() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=60, color_system=None)
    with Bar(_RUN, console) as view:
        view.show(replace(_RUNNING, rows_done=500_000))
        view.trouble("The database is away.")
    shown = screen.getvalue()
    assert "Run 7  shop.Reprice  running" in shown
    assert "50.0 %" in shown
    assert "500,000 of ≈ 1,000,000 rows · 8,230 rows/s" in shown
    assert "The database is away. Trying again." in shown


def test_view_suits_who_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(view_of(_RUN), Lines)
    assert isinstance(view_of(_RUN, as_json=True), Events)
    monkeypatch.setattr("sys.stderr", io.StringIO())
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert isinstance(view_of(_RUN), Bar)


@pytest.mark.parametrize(
    "status", ["succeeded", "partial", "failed", "cancelled", "paused", "held"]
)
def test_follow_until_it_ends_or_rests(status: str) -> None:
    last = replace(_RUNNING, status=RunStatus(status))
    progress, seen = _follow(_RUNNING, last)
    assert progress is last
    assert seen == ["running", status]


def test_follow_through_an_outage() -> None:
    last = replace(_RUNNING, status=RunStatus.SUCCEEDED)
    _, seen = _follow(_RUNNING, LedgerUnreachable("It is away."), last)
    assert seen == ["running", "It is away.", "succeeded"]


def test_follow_gives_up_when_the_database_was_never_there() -> None:
    with pytest.raises(LedgerUnreachable):
        _follow(LedgerUnreachable("It is away."))


def test_follow_gives_up_when_the_database_stays_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "PATIENCE_SECONDS", 0)
    with pytest.raises(LedgerUnreachable):
        _follow(_RUNNING, LedgerUnreachable("It is away."))


def test_follow_no_longer_than_asked() -> None:
    with pytest.raises(WaitTimeout, match="still running after 0 s; it goes on"):
        _follow(_RUNNING, timeout=0)


def test_every_status_has_an_exit_code() -> None:
    codes = {status: exit_code_of(status) for status in RunStatus}
    assert codes[RunStatus.SUCCEEDED] == 0
    assert {status for status, code in codes.items() if code == 6} == {
        RunStatus.LOADING,
        RunStatus.RUNNING,
        RunStatus.PAUSING,
        RunStatus.CANCELLING,
        RunStatus.FINISHING,
    }
