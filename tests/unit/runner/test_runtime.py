"""How a process is told from another, and life from death."""

from __future__ import annotations

import os
import time
from pathlib import Path

import psutil
import pytest

from breakbulk.runner.runtime import process_started
from tests.support.waiting import wait_for


def test_a_process_is_known_by_its_start() -> None:
    started = process_started(os.getpid())
    assert started is not None
    assert 0 < time.clock_gettime(time.CLOCK_BOOTTIME) - started < 86_400


def test_a_process_is_known_again_when_the_clock_was_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """NTP steps a clock, or a virtual machine that was paused gets the right time again."""
    before = process_started(os.getpid())
    booted = psutil.boot_time()
    # Linux tells when it was booted by the clock as it is now; everything else follows from that.
    monkeypatch.setattr("psutil._pslinux.boot_time", lambda: booted + 600.0)
    assert psutil.Process().create_time() > booted + 600.0, "the clock is another one now"
    assert process_started(os.getpid()) == pytest.approx(before, abs=0.5)


def test_a_zombie_is_dead() -> None:
    """It holds no lock and will never commit, though nobody has asked yet how it ended."""
    child = os.fork()
    if child == 0:
        os._exit(0)
    try:
        wait_for(lambda: process_started(child) is None, message="it to be dead")
        assert Path(f"/proc/{child}").exists()
    finally:
        os.waitpid(child, 0)


def test_nobody_is_dead() -> None:
    with pytest.raises(ProcessLookupError):
        os.kill(2**22 + 1, 0)
    assert process_started(2**22 + 1) is None
