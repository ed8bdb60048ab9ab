"""Nodes that exist only by name, for a controller that scales them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from breakbulk.autoscale import Node

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from breakbulk.domain.backlog import QueueBacklog


@dataclass
class Rack:
    """A provider that does at once what it is told, unless it breaks."""

    name: str = "rack"
    scales: bool = True
    replaces: bool = False
    there: list[Node] = field(default_factory=list)
    tended: list[tuple[list[str], list[QueueBacklog]]] = field(default_factory=list)
    broken: Exception | None = None
    coming: int = 0
    _count: int = 0

    def nodes(self) -> list[Node]:
        """Those that are there."""
        return list(self.there)

    def size(self) -> int:
        """How many, those that are only asked for included."""
        return len(self.there) + self.coming

    def forgo(self, size: int) -> None:
        """Let those not come that are only asked for."""
        self.coming = max(size - len(self.there), 0)

    def grow(self, size: int) -> int:
        """Add what is missing, unless it breaks."""
        if self.broken is not None:
            raise self.broken
        missing = max(size - self.size(), 0)
        for _ in range(missing):
            self._count += 1
            self.there.append(Node(f"n{self._count}", f"host{self._count}"))
        return missing

    def shrink(self, nodes: Sequence[Node]) -> None:
        """Take these away."""
        for node in nodes:
            self.there.remove(node)

    def tend(self, busy: Collection[Node], signal: Sequence[QueueBacklog]) -> None:
        """Note what one is told."""
        self.tended.append(([node.id for node in busy], list(signal)))
