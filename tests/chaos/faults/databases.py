"""The database crashes, its connections are cut, and its answers to COMMIT are lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

from tests.support.effort import sit_out
from tests.support.fault import fault
from tests.support.proxy import Fate

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from tests.support.arena import Arena
    from tests.support.sight import Sight
    from tests.support.stage import Stage

#: How long it is away, in seconds: several of a lane's tries to connect again.
_AWAY = 3.0
#: What says in a transaction that it is a chunk's, or a callback's.
OF_UNIT = b"pg_advisory_xact_lock"
#: What the steward says once, with its traceback.
STEWARD = "the steward was interrupted"
_CUTS = 8
_WAITING = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


@fault(seconds=_AWAY + 5.0, complaints={STEWARD}, breaks={"postgres"})
def a_crashed_database(arena: Arena, _sight: Sight) -> Iterator[Collection[int]]:
    """``pg_ctl stop -m immediate``: it has to recover when it comes back."""
    assert arena.postgres is not None
    arena.postgres.stop("immediate")
    yield ()
    sit_out(arena, _AWAY)
    arena.postgres.start()


@fault(seconds=3.0, complaints={STEWARD}, breaks={"postgres"})
def a_restarted_database(arena: Arena, _sight: Sight) -> Iterator[Collection[int]]:
    """``pg_ctl restart -m fast``, as after an update: it takes leave of everybody."""
    assert arena.postgres is not None
    arena.postgres.restart("fast")
    yield ()


@fault(complaints={STEWARD}, breaks={"network"})
def cut_connections(arena: Arena, _sight: Sight) -> Iterator[Collection[int]]:
    """A firewall is restarted: every connection to the database is reset."""
    assert arena.proxy is not None
    arena.proxy.cut()
    yield ()


@fault(complaints={STEWARD}, seconds=8.0, breaks={"network"})
def a_silent_network(arena: Arena, _sight: Sight) -> Iterator[Collection[int]]:
    """Nothing reaches the database for two leases, so that all of them lapse at once."""
    assert arena.proxy is not None
    arena.proxy.blackhole()
    yield ()
    sit_out(arena, 2 * arena.lease)
    arena.proxy.heal()


@fault(breaks={"network"})
def a_commit_whose_answer_is_lost(arena: Arena, _sight: Sight) -> Iterator[Collection[int]]:
    """A chunk is committed, and its lane does not hear of it."""
    yield from _ambushed(arena, Fate.DONE)


@fault(breaks={"network"})
def a_commit_that_is_lost(arena: Arena, _sight: Sight) -> Iterator[Collection[int]]:
    """A chunk's COMMIT never arrives, and its lane cannot tell that from the other case."""
    yield from _ambushed(arena, Fate.LOST)


@fault(breaks={"network"})
def a_commit_that_arrives_late(arena: Arena, _sight: Sight) -> Iterator[Collection[int]]:
    """A chunk's COMMIT arrives when its lane asks already what has become of it."""
    yield from _ambushed(arena, Fate.LATE)


def _ambushed(arena: Arena, fate: Fate) -> Iterator[Collection[int]]:
    assert arena.proxy is not None
    ambush = arena.proxy.ambush(fate, of=OF_UNIT)
    arena.until(ambush.caught.is_set, message="a chunk's COMMIT to be caught")
    if fate is Fate.LATE:
        arena.until(
            lambda: anybody_waits(arena.stage), message="its lane to ask what has become of it"
        )
        ambush.release.set()
    yield ()


@fault(complaints={STEWARD}, breaks={"network"})
def commits_cut_at_random(arena: Arena, _sight: Sight) -> Iterator[Collection[int]]:
    """Whoever commits whatever loses his connection: lanes that carve or come and go, stewards."""
    assert arena.proxy is not None
    for _ in range(_CUTS):
        ambush = arena.proxy.ambush(arena.dice.choice([Fate.DONE, Fate.LOST]))
        arena.until(ambush.caught.is_set, message="a COMMIT to be caught")
    yield ()


def anybody_waits(stage: Stage) -> bool:
    """Whether a session waits for what another one has locked."""
    with stage.engine.connect() as connection:
        return bool(connection.execute(text(_WAITING)).scalar_one())


ALL = (
    a_crashed_database,
    a_restarted_database,
    cut_connections,
    a_silent_network,
    a_commit_whose_answer_is_lost,
    a_commit_that_is_lost,
    a_commit_that_arrives_late,
    commits_cut_at_random,
)
