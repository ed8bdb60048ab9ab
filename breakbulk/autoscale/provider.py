"""Where nodes come from, as the controller sees it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from breakbulk.domain.backlog import QueueBacklog


@dataclass(frozen=True, slots=True)
class Node:
    """A node: something that can be started and stopped, with one worker on it.

    Attributes:
        id: unlike any other's, also of those that are gone.
        host: what its worker calls its machine.
        pid: of its worker; None where a machine has but one.
    """

    id: str
    host: str
    pid: int | None = None

    def runs(self, host: str, pid: int) -> bool:
        """Whether a worker is this node's."""
        if self.pid is not None:
            return (host, pid) == (self.host, self.pid)
        # Machines are called by their whole name or only its first part.
        return host.partition(".")[0] == self.host.partition(".")[0]


class Provider(Protocol):
    """Starts and stops nodes of one kind."""

    @property
    def name(self) -> str:
        """The group of nodes: one controller at a time looks after it."""

    @property
    def scales(self) -> bool:
        """Whether it starts and stops nodes; else somebody else does, by the signal."""

    @property
    def replaces(self) -> bool:
        """Whether somebody else replaces nodes that die."""

    def nodes(self) -> list[Node]:
        """Nodes that are there, the oldest first; those that are being stopped left out."""

    def size(self) -> int:
        """How many there are or are coming."""

    def grow(self, size: int) -> int:
        """See to it that there are so many; how many were started for that."""

    def forgo(self, size: int) -> None:
        """Let those not come that are only asked for, down to so many with the others."""

    def shrink(self, nodes: Sequence[Node]) -> None:
        """Stop these, after the chunks in hand; those that were asked before may be asked again."""

    def tend(self, busy: Collection[Node], signal: Sequence[QueueBacklog]) -> None:
        """Do what is done at each look: protect who is at work, publish the signal."""
