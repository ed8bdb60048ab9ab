from __future__ import annotations

import os

from breakbulk.runner.circulation import Circulation


def test_what_comes_late_is_overtaken_by_a_lane_that_has_ended_since() -> None:
    circulation = Circulation()
    assert not circulation.has_overtaken(1_000), "no lane has ever ended here"
    circulation.lane_ended()
    assert circulation.has_overtaken(60)
    assert circulation.has_overtaken(1_000)
    assert not circulation.has_overtaken(0), "it is not late"
    assert not circulation.has_overtaken(-5)
    circulation.reset()
    assert not circulation.has_overtaken(1_000)


def test_what_a_child_has_done_its_siblings_know() -> None:
    circulation = Circulation()
    child = os.fork()
    if child == 0:
        circulation.lane_ended()
        os._exit(0)
    os.waitpid(child, 0)
    assert circulation.has_overtaken(60)
