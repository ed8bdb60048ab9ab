"""How a process is told from another, and life from death."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from breakbulk.runner.runtime import process_started
from tests.support.waiting import wait_for


def test_a_process_is_known_by_its_start() -> None:
    started = process_started(os.getpid())
    assert started is not None
    assert 0 < time.time() - started < 86_400


def test_a_zombie_is_dead() -> None:
    """It holds no lock and will never commit, though nobody has asked yet how it ended."""
    child = os.fork()
    if child == 0:
        os._exit(0)
    try:
        wait_for(lambda: process_started(child) is None, timeout=10, message="it to be dead")
        assert Path(f"/proc/{child}").exists()
    finally:
        os.waitpid(child, 0)


def test_nobody_is_dead() -> None:
    with pytest.raises(ProcessLookupError):
        os.kill(2**22 + 1, 0)
    assert process_started(2**22 + 1) is None
