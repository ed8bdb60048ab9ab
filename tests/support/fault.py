"""A fault: what strikes workers, broker or database, and how soon the work goes on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from tests.support.arena import Arena
    from tests.support.sight import Sight

#: What a fault function is: up to its one ``yield`` it strikes, and yields the processes of the
#: lanes that it struck, none if it did not strike lanes. What comes after puts right what does
#: not mend by itself, such as a server that is down or a worker that has to be started again.
Deed: TypeAlias = "Callable[[Arena, Sight], Iterator[Collection[int]]]"


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault by name.

    Attributes:
        name: as it is printed.
        deed: strikes.
        leases: until the work goes on it takes so many leases …
        seconds: … and so many seconds at most, on a machine that is not busy.
        complaints: what the workers' logs may hold because of it.
        breaks: what it breaks, so that the arena needs its own: a server (``postgres``,
            ``valkey``), the way to the database (``network``), or to workers (``messages``).
        halts: nothing goes on until it is put right.
    """

    name: str
    deed: Deed
    leases: float = 0.0
    seconds: float = 2.0
    complaints: tuple[str, ...] = ()
    breaks: frozenset[str] = field(default_factory=frozenset)
    halts: bool = False

    def nominal(self, lease: float) -> float:
        """Seconds until the work goes on, at most."""
        return self.leases * lease + self.seconds


def fault(
    *,
    leases: float = 0.0,
    seconds: float = 2.0,
    complaints: Collection[str] = (),
    breaks: Collection[str] = (),
    halts: bool = False,
) -> Callable[[Deed], Fault]:
    """Make a fault of a function, named like it; see :class:`Fault`."""

    def make(deed: Deed) -> Fault:
        name = getattr(deed, "__name__", "?").replace("_", " ")
        return Fault(name, deed, leases, seconds, tuple(complaints), frozenset(breaks), halts)

    return make
