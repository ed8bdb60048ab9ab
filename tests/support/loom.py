"""A loom: real code in threads of which one moves at a time, from stop to stop.

A *strand* is a thread that runs code of the product: a lane, a steward's look around, an
operator's verb. It stops before every statement, before and after every COMMIT and inside
``process()`` (`tests.support.stops` sees to that), and goes on when it is told to. So an
interleaving is a list of strands and strides, and the same list gives the same interleaving.

A strand that waits in the database for a lock which another one holds is left to wait, as in life;
it stops again as soon as it has the lock. Strands that wait for each other are a failure.
"""

from __future__ import annotations

import threading
import time
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

#: Real seconds after which a strand that does not come to rest hangs.
_PATIENCE = 120.0
#: Real seconds before the database is asked whether a strand waits for a lock.
_GLANCE = 0.004
#: Stops after which any stride ends: a lane whose time does not pass would go on for ever.
_LONGEST = 1500


class Stop(StrEnum):
    """Where a strand stops."""

    STATEMENT = "a statement"
    COMMIT = "COMMIT"
    COMMITTED = "the end of COMMIT"
    ROLLED_BACK = "the end of ROLLBACK"
    WORK = "its work"
    WORKED = "the end of its work"
    SLEEP = "a sleep"
    TURN = "the turnstile"


class Stride(StrEnum):
    """How far a strand goes on: to the next stop of a kind."""

    STEP = "any stop"
    COMMIT = "COMMIT"
    COMMITTED = "the end of COMMIT"
    WORK = "its work"
    WORKED = "the end of its work"
    THROUGH = "its end"


_ENDS = {
    Stride.STEP: frozenset(Stop),
    Stride.COMMIT: {Stop.COMMIT, Stop.SLEEP},
    Stride.COMMITTED: {Stop.COMMITTED, Stop.SLEEP},
    Stride.WORK: {Stop.WORK, Stop.SLEEP},
    Stride.WORKED: {Stop.WORKED, Stop.SLEEP},
    Stride.THROUGH: frozenset[Stop](),
}


class Killed(BaseException):
    """The strand's process was killed here: nothing that follows reaches anybody."""


class Sessions(Protocol):
    """The sessions of a database server, seen from outside, by their process ids."""

    def waits(self, pids: Iterable[int]) -> dict[int, set[int]]:
        """Those of these sessions that wait for a lock, and the sessions they wait for."""

    def end(self, pids: Iterable[int]) -> None:
        """End sessions, and wait until they are gone."""


class Strand:
    """One thread of the loom.

    Attributes:
        stop: where it stands; None before its first step.
        about: the statement it stands before, or whatever else says where that is.
        blocked: it waits in the database for a lock.
        doomed: its process was killed; it only unwinds.
        excused: its connection was cut, so an error of the database is no surprise.
        sessions: the processes that serve its connections to the database, where there are any.
        notes: whatever those who watch it want to remember.
    """

    def __init__(self, loom: Loom, name: str, play: Callable[[], Any]) -> None:
        self.name = name
        self.stop: Stop | None = None
        self.about = ""
        self.stride = Stride.STEP
        self.steps = 0
        self.moving = self.blocked = self.over = self.doomed = self.excused = False
        self.midway = False
        self.result: Any = None
        self.error: BaseException | None = None
        self.sessions: dict[int, int] = {}
        self.notes: dict[str, Any] = {}
        self._loom = loom
        self._go = threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, args=(play,), name=name, daemon=True)

    def __str__(self) -> str:
        return self.name

    @property
    def where(self) -> str:
        """Where it is, for people."""
        if self.over:
            return "over" if self.error is None else f"over: {self.error!r}"
        if self.blocked:
            return f"waits for a lock in {self.about}"
        return f"before {self.about}" if self.about else f"at {self.stop or 'its start'}"

    @property
    def pids(self) -> set[int]:
        """Its database sessions."""
        return set(self.sessions.values())

    def set_off(self) -> None:
        """Let it move; the loom waits for it."""
        self.moving, self.midway = True, False
        if self._thread.ident is None:
            self._thread.start()
        else:
            self._go.release()

    def halt(self, stop: Stop, about: str = "", *, midway: bool = False) -> None:
        """Come to rest here; called in its own thread."""
        with self._loom.rest:
            self.stop, self.about, self.midway = stop, about, midway
            self.moving = self.blocked = False
            self._loom.rest.notify_all()
        self._go.acquire()
        if self.doomed:
            raise Killed

    def _run(self, play: Callable[[], Any]) -> None:
        self._loom.here.strand = self
        try:
            self.result = play()
        except Killed:
            pass
        except BaseException as error:  # noqa: BLE001  (whoever watches judges it)
            self.error = error
        with self._loom.rest:
            self.over, self.moving, self.blocked = True, False, False
            self._loom.rest.notify_all()


class Loom:
    """All strands, and what they have done wrong.

    Args:
        sessions: the database's; None where nobody waits for locks in the database.
    """

    def __init__(self, sessions: Sessions | None) -> None:
        self.rest = threading.Condition()
        self.here = threading.local()
        self.strands: list[Strand] = []
        #: Those that are over, until somebody has looked what came of them.
        self.ended: list[Strand] = []
        #: Mistakes that a watcher saw in a strand's own thread, where the product would catch them.
        self.mistakes: list[BaseException] = []
        #: The strand whose turn it is to write, where only one can.
        self.writer: Strand | None = None
        self._sessions = sessions

    @property
    def current(self) -> Strand | None:
        """The strand that this thread is; None for the one that drives."""
        return getattr(self.here, "strand", None)

    def spawn(self, name: str, play: Callable[[], Any]) -> Strand:
        """Another strand, before its first step."""
        strand = Strand(self, name, play)
        self.strands.append(strand)
        return strand

    def pause(self, stop: Stop, about: str = "") -> None:
        """Stop here if the current strand's stride ends here; nothing outside of strands."""
        strand = self.current
        if strand is None:
            return
        if strand.doomed:
            raise Killed
        strand.steps += 1
        if stop in _ENDS[strand.stride] or strand.steps > _LONGEST:
            strand.halt(stop, about)
        strand.about = about

    def give_way(self, stop: Stop) -> None:
        """The current strand has let go of locks: whoever waited for them goes first."""
        strand = self.current
        if strand is not None and any(other.blocked for other in self.strands):
            strand.halt(stop, midway=True)

    def advance(self, strand: Strand, stride: Stride) -> None:
        """Let a strand go on, until it stops, waits or ends.

        Raises:
            AssertionError: a watcher saw a mistake, or strands wait for each other.
        """
        strand.stride, strand.steps = stride, 0
        if not strand.moving:
            strand.set_off()
        self.come_to_rest()
        while strand.midway and not strand.over:
            strand.set_off()
            self.come_to_rest()
        self.complain()

    def complain(self) -> None:
        """Raise the first mistake that was seen."""
        if self.mistakes:
            raise self.mistakes[0]

    def kill(self, strand: Strand) -> None:
        """Kill its process: nothing it does from now on reaches anybody."""
        strand.doomed = True
        self.cut(strand)
        if strand.stop is None and not strand.moving:
            strand.over = True
        elif not strand.moving and not strand.over:
            strand.set_off()
        self.come_to_rest()

    def cut(self, strand: Strand) -> None:
        """Cut its connections to the database."""
        strand.excused = True
        if self._sessions is not None:
            self._sessions.end(strand.pids)

    def come_to_rest(self) -> None:
        """Wait until every strand has stopped, is over, or waits for a lock."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            with self.rest:
                self.rest.wait_for(
                    lambda: not any(one.moving and not one.blocked for one in self.strands), _GLANCE
                )
            moving = [one for one in self.strands if one.moving]
            if not moving or (self._sessions is not None and self._all_wait(moving)):
                break
            if time.monotonic() > deadline:
                raise AssertionError(f"these do not come to rest: {self.described(moving)}")
        self.ended += [one for one in self.strands if one.over]
        self.strands = [one for one in self.strands if not one.over]

    def described(self, strands: Iterable[Strand] | None = None) -> str:
        """Who is where."""
        shown = self.strands if strands is None else strands
        return "; ".join(f"{one} {one.where}" for one in shown)

    def _all_wait(self, moving: list[Strand]) -> bool:
        """Whether every strand that moves does nothing but wait for others of the loom."""
        assert self._sessions is not None
        waits = self._sessions.waits(pid for one in moving for pid in one.pids)
        behind: dict[Strand, Strand] = {}
        for one in moving:
            pids = {blocker for pid in one.pids for blocker in waits.get(pid, ())}
            others = [other for other in self.strands if pids & other.pids]
            one.blocked = one.moving and bool(others)
            if one.blocked:
                behind[one] = others[0]
                one.stride = Stride.STEP
        if not all(one.blocked or not one.moving for one in moving):
            return False
        for one in behind:
            chain = [one]
            while chain[-1] in behind and len(chain) <= len(behind):
                chain.append(behind[chain[-1]])
            if chain[-1] in behind:
                names = self.described(chain)
                self.mistakes.append(AssertionError(f"these wait for each other: {names}"))
        return True
