"""The database is away, or the way to it is: the run goes on when it is back, and nobody pays."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from tests.chaos.faults import databases

if TYPE_CHECKING:
    from tests.support.arenas import Arenas
    from tests.support.fault import Fault


#: Seconds from the end of the silence until the ledger was looked at.
_LOOKING = 0.5
#: What a lane says that has asked what became of its COMMIT.
_FOUND = {
    databases.a_commit_whose_answer_is_lost: "the COMMIT of chunk .* had happened",
    databases.a_commit_that_is_lost: "the COMMIT of chunk .* had not happened",
    databases.a_commit_that_arrives_late: "the COMMIT of chunk .* had happened",
}
_SHORT = [one for one in databases.ALL if one is not databases.a_silent_network]
_ALWAYS = (databases.a_commit_whose_answer_is_lost,)
_MARKED = [
    one if one in _ALWAYS else pytest.param(one, marks=pytest.mark.thorough) for one in _SHORT
]


@pytest.mark.parametrize("what", _MARKED, ids=lambda one: one.name.replace(" ", "-"))
def test_the_run_goes_on_when_it_is_back(set_arena: Arenas, what: Fault) -> None:
    # As by default: whoever is away for less is not missed.
    arena = set_arena(breaks=what.breaks, knobs={"lease_seconds": 15.0})
    bout = arena.suffer(what)
    assert not arena.stage.attempts(bout.run)
    assert not arena.stage.losses(bout.run)
    logs = [worker.log() for worker in arena.stage.workers]
    found = _FOUND.get(what, "")
    assert any(re.search(found, log) for log in logs), f"nobody says {found!r}"


@pytest.mark.thorough
def test_a_silence_in_which_all_leases_end(set_arena: Arenas) -> None:
    """Whoever comes back first finds everybody else dead, and may not say so."""
    arena = set_arena(breaks=databases.a_silent_network.breaks)
    bout = arena.suffer(databases.a_silent_network)
    assert not arena.stage.attempts(bout.run)
    lease = timedelta(seconds=arena.lease - _LOOKING)
    judged = [one.at for one in bout.run.activity() if one.verb == "rescued"]
    assert all(at > bout.healed.at + lease for at in judged), "somebody was judged too soon"
