"""People: no faults, but what they do comes at any moment, too."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from breakbulk import RunStatus
from breakbulk.errors import StateError
from tests.support.fault import fault
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from tests.support.arena import Arena
    from tests.support.sight import Sight


@fault(halts=True)
def a_pause(arena: Arena, _sight: Sight) -> Iterator[Collection[int]]:
    """Somebody pauses the run, and resumes it when it stands still."""
    run = arena.runs[-1]
    with suppress(StateError):  # it is being called back, or over
        run.pause()
    yield ()

    def still() -> bool:
        arena.meanwhile()
        return run.status() not in (RunStatus.RUNNING, RunStatus.PAUSING, RunStatus.FINISHING)

    wait_for(still, message="the run to stand still, or to end")
    with suppress(StateError):
        run.resume()


ALL = (a_pause,)
