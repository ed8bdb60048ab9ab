"""What a chunk is: bounds in a source's key space, and the claim that somebody has on it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import NewType
from uuid import UUID

from breakbulk.domain.keys import Key, decode_key, encode_key
from breakbulk.errors import ParameterError

RunId = NewType("RunId", int)

#: Databases give none beyond, and are not to be asked for any.
HIGHEST_ID = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Bounds:
    """The half-open range of keys ``(after, upto]``.

    Attributes:
        after: the key before the first one, or None from the very beginning. Never a
            made-up smallest value: keys may be negative, or text.
        upto: the last key, included.
    """

    after: Key | None
    upto: Key

    def encoded(self) -> tuple[str | None, str]:
        """Both ends as the ledger stores them."""
        return (None if self.after is None else encode_key(self.after), encode_key(self.upto))

    @classmethod
    def decoded(cls, after: str | None, upto: str) -> Bounds:
        """The inverse of :meth:`encoded`."""
        return cls(None if after is None else decode_key(after), decode_key(upto))

    def __str__(self) -> str:
        after, upto = self.encoded()
        return f"({after or 'start'}, {upto}]"


@dataclass(frozen=True, slots=True)
class Cut:
    """A chunk about to be carved: its bounds, and the rows counted in them by the walk."""

    bounds: Bounds
    rows: int


@dataclass(frozen=True, slots=True)
class Scout:
    """How far a walk has got beyond the frontier without a full chunk.

    Attributes:
        key: the last key of the base table that was looked at.
        rows: rows that match between the frontier and ``key``.
        window: how many keys of the base table the next look may take.
    """

    key: Key
    rows: int
    window: int

    def encoded(self) -> str:
        """As text, for the ledger."""
        told = {"key": encode_key(self.key), "rows": self.rows, "window": self.window}
        return json.dumps(told)

    @classmethod
    def decoded(cls, text: str) -> Scout:
        """The reverse."""
        told = json.loads(text)
        return cls(decode_key(told["key"]), told["rows"], told["window"])


@dataclass(frozen=True, slots=True)
class Walk:
    """What one look ahead found.

    Attributes:
        cuts: the next chunks, adjacent and in order.
        reached_end: the last cut ends at the run's last key.
        scout: where to go on when there is no full chunk yet.
    """

    cuts: tuple[Cut, ...]
    reached_end: bool
    scout: Scout | None


#: What a split adds to the path of the lower half and of the upper: of a chunk that has failed,
HALVES = "01"
#: and of one that nobody had begun, so that lanes with nothing to do have a share in it.
SHARES = "ab"
#: No path, but it sorts behind each: after it comes the next number.
BEHIND_PARTS = "~"
#: Characters of a path; the ledger's columns hold as many.
LONGEST_PATH = 64

# What has failed is not shared out any more.
_PATH = re.compile(f"[{SHARES}]*[{HALVES}]*")
_NAME = re.compile(rf"(\d{{1,10}})(?:\.(?=.)({_PATH.pattern}))?")


def chunk_name(number: int, path: str | None) -> str:
    """What a chunk is called: ``12``, or ``12.01`` after a split."""
    return f"{number}.{path}" if path else str(number)


def failed_part(path: str | None) -> str:
    """The part of a path that failures have added: empty for a chunk that none has split.

    Shares are as good as carved: they have all their tries, and are to blame for themselves.
    """
    return (path or "").lstrip(SHARES)


def is_path(text: str) -> bool:
    """Whether splits can have given a chunk this path."""
    return len(text) <= LONGEST_PATH and _PATH.fullmatch(text) is not None


def parse_chunk(name: str) -> tuple[int, str]:
    """Number and path from a chunk's name.

    Raises:
        ParameterError: it is not a chunk's name.
    """
    matched = _NAME.fullmatch(name.strip())
    if matched is None:
        raise ParameterError(f"{name!r} is not a chunk, as in 12, or 12.01 after a split.")
    return int(matched[1]), matched[2] or ""


@dataclass(frozen=True, slots=True)
class ChunkRef:
    """The name of a chunk: its run, its number from 1, and its path after splits.

    ``path`` is empty for a chunk as carved; each split adds ``0`` for the lower half and ``1``
    for the upper, so the highest number is always the frontier. Where it was split for lanes that
    had nothing to do, before anybody had begun it, that is ``a`` and ``b``.
    """

    run_id: RunId
    number: int
    path: str = ""

    def __str__(self) -> str:
        return chunk_name(self.number, self.path)


@dataclass(frozen=True, slots=True)
class Claim:
    """A chunk that this lane may work on, as long as nobody has taken it.

    Attributes:
        ref: which chunk.
        bounds: its range of keys.
        rows: rows counted when it was carved.
        attempt: which try this is, from 1.
        owner: the fence: a random token that only this claim knows.
        losses: how often a worker died with it.
        snoozes: how often it was put back at its own wish.
        troubled: seconds for which it was tried again and again for what is nobody's fault.
        spent: it has had its tries and is not to be tried, but split, skipped or put away.
        waited: it was given back before, so an attempt may have left something for the next one.
    """

    ref: ChunkRef
    bounds: Bounds
    rows: int
    attempt: int
    owner: UUID
    losses: int = 0
    snoozes: int = 0
    troubled: int = 0
    spent: bool = False
    waited: bool = False
