"""Fixtures of the chaos tests, and what they tell at the end: when which fault struck."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.arenas import SAYINGS, set_arena
from tests.support.stages import broker_named, set_stage

if TYPE_CHECKING:
    import pytest

__all__ = ["broker_named", "set_arena", "set_stage"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell what struck when, and how soon the work went on."""
    reports = [
        report
        for outcome in ("passed", "failed")
        for report in terminalreporter.getreports(outcome)
        if getattr(report, "when", "") == "call"
    ]
    lines = [line for report in reports for name, line in report.user_properties if name == SAYINGS]
    if lines:
        terminalreporter.section("chaos: what struck, and how soon the work went on")
        for line in lines:
            terminalreporter.write_line(str(line))
