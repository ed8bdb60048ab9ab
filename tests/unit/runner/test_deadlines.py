from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING
from uuid import uuid4

from breakbulk.runner.deadlines import Deadlines
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    import pytest


def test_who_takes_too_long_is_seen_and_nobody_else() -> None:
    deadlines = Deadlines(8)
    slow, quick, patient, unlimited = (uuid4() for _ in range(4))
    slots = [deadlines.take() for _ in range(4)]
    assert len(set(slots)) == 4
    for slot, lane, seconds in zip(
        slots, (slow, quick, patient, unlimited), (0.01, 0.01, 60, None), strict=True
    ):
        deadlines.begin(slot, lane, seconds)
    deadlines.end(slots[1])
    wait_for(lambda: deadlines.overdue() == {slow}, message="the slow one to be late")
    deadlines.begin(slots[0], slow, 60)
    assert deadlines.overdue() == set(), "its next chunk has a time of its own"


def test_who_has_just_gone_on_is_not_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two looks at its slot the lane has begun its next chunk."""
    deadlines = Deadlines(8)
    deadlines.begin(deadlines.take(), uuid4(), 0.0001)
    wait_for(deadlines.overdue, message="it to be late")
    monkeypatch.setattr(deadlines, "_deadline", lambda _slot: time.monotonic() + 60)
    assert deadlines.overdue() == set()


def test_a_slot_is_used_again() -> None:
    deadlines = Deadlines(1)
    slot = deadlines.take()
    assert deadlines.take() is None, "there is one only; whoever gets none is not watched"
    deadlines.begin(None, uuid4(), 1)
    deadlines.end(None)
    deadlines.begin(slot, uuid4(), 0.0001)
    wait_for(deadlines.overdue, message="it to be late")
    deadlines.give_back(slot)
    assert deadlines.overdue() == set()
    assert deadlines.take() == slot


def test_a_child_is_seen_by_its_parent() -> None:
    deadlines = Deadlines(8, place=lambda: 5)
    lane = uuid4()
    child = os.fork()
    if child == 0:
        deadlines.begin(deadlines.take(), lane, 0.0001)
        os._exit(0)
    os.waitpid(child, 0)
    wait_for(lambda: deadlines.overdue() == {lane}, message="the child to be late")
    deadlines.reset()
    assert deadlines.overdue() == set()
    assert Deadlines(5, place=lambda: 5).take() is None


_BEGIN = """
import sys
from uuid import UUID
from breakbulk.runner.deadlines import Deadlines
deadlines = Deadlines.lent(sys.argv[1])
deadlines.begin(deadlines.take(), UUID(sys.argv[2]), float(sys.argv[3]))
"""


def test_a_process_that_is_not_forked_is_seen_too() -> None:
    deadlines, lane, other = Deadlines(8), uuid4(), uuid4()
    for number, name, seconds in ((0, lane, 0.0001), (1, other, math.inf)):
        subprocess.run(
            [sys.executable, "-c", _BEGIN, deadlines.lend(number), str(name), str(seconds)],
            pass_fds=(deadlines.file,),
            check=True,
        )
    wait_for(lambda: deadlines.overdue() == {lane}, message="it to be late")
    for name in (lane, other):
        assert deadlines.seconds_of(name) is not None


def test_it_is_known_how_long_a_lane_has_been_at_its_chunk() -> None:
    deadlines, lane = Deadlines(8), uuid4()
    assert deadlines.seconds_of(lane) is None
    with deadlines.at_work(lane, None):
        wait_for(lambda: (deadlines.seconds_of(lane) or 0) > 0.01, message="some time")
        assert deadlines.overdue() == set(), "it may take as long as it takes"
    assert deadlines.seconds_of(lane) is None
