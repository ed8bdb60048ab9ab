"""A lane inside its worker: how long it may stay, and whether it is still alive."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

import pytest

from breakbulk.domain.chunk import RunId
from breakbulk.ledger.lanes import Lane
from breakbulk.runner.runtime import live_lanes, process_started
from breakbulk.worker import StewardStep, slice_within

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def child() -> Iterator[int]:
    """A process that lives."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process.pid
    process.communicate()


def lane(pid: int, started: float) -> Lane:
    return Lane(RunId(1), 0, uuid4(), uuid4(), pid, started)


def alive(one: Lane) -> bool:
    return StewardStep._alive(cast("Any", None), one)


def test_a_later_process_of_the_same_number_is_another(child: int) -> None:
    started = process_started(child)
    assert started is not None
    assert alive(lane(child, started))
    assert not alive(lane(child, started - 60))


def test_a_thread_is_alive_as_long_as_its_lane_is_at_work() -> None:
    own = lane(os.getpid(), process_started(os.getpid()) or 0.0)
    assert not alive(own)
    live_lanes.add(own.token)
    assert alive(own)
    live_lanes.remove(own.token)
    assert not alive(own)


@pytest.mark.parametrize(
    ("limits", "seconds"),
    [
        ({}, 5.0),
        ({"task_time_limit": 600}, 5.0),
        ({"task_soft_time_limit": 4}, 2.0),
        ({"time_limit": 3, "task_time_limit": 600}, 1.5),
        ({"soft_time_limit": 2}, 1.0),
        ({"timelimit": (None, 1)}, 0.5),
    ],
)
def test_a_slice_keeps_clear_of_the_teams_time_limits(
    limits: dict[str, Any], seconds: float
) -> None:
    conf = {"task_time_limit": None, "task_soft_time_limit": None}
    task = SimpleNamespace(
        request=SimpleNamespace(timelimit=limits.get("timelimit")),
        time_limit=limits.get("time_limit"),
        soft_time_limit=limits.get("soft_time_limit"),
        app=SimpleNamespace(
            conf=SimpleNamespace(**{name: limits.get(name) for name in conf}),
        ),
    )
    assert slice_within(5.0, task) == seconds
