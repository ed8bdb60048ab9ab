"""What a contestant is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

WORKERS = 2
"""Worker processes of each contestant."""
CHUNK_SIZE = 500


@dataclass(frozen=True, slots=True)
class About:
    """What is to be said of a contestant.

    Attributes:
        title: in tables.
        packages: whose versions matter, as they are installed by.
        settings: what differs from its defaults.
        why: of each setting, or of a way of using it: the reason and the page that says so.
        end: how it is known that all is done.
        durable: what a chunk that was done is certain of when a worker or the broker dies.
    """

    title: str
    packages: tuple[str, ...]
    end: str
    durable: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    why: tuple[str, ...] = ()


class Peer(Protocol):
    """What the module of a contestant has. Each function runs in a process of its own choice.

    The order of calls: `prepare` once, in a process that ends; the `workers` are started;
    then, in one process, `submit` and `done` for the chunks to warm up and again for those that
    are measured.
    """

    @property
    def ABOUT(self) -> About:  # noqa: N802  (a constant of the module)
        """What is to be said of it."""

    def prepare(self) -> None:
        """Make the tables that it needs beside ours."""

    def workers(self) -> Sequence[Sequence[str]]:
        """Return the command lines to start, in this order."""

    def submit(self, name: str, parts: Sequence[int]) -> None:
        """Hand in one chunk for each number: the function `name` of `bench.peers.work`."""

    def done(self) -> float | None:
        """Return when the last chunk was done, in seconds since the epoch; None: it is not."""
