"""An iterable on its way into the ledger: item by item, in batches of bounded size."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from breakbulk.domain.chunk import RunId
from breakbulk.domain.items import NO_ITEMS, chained, encode_item
from breakbulk.domain.nouns import Nouns
from breakbulk.errors import SourceError
from breakbulk.ledger.loads import Load

#: A batch is full with so many items, or so many characters of JSON, and it is not waited for
#: longer than so many seconds.
BATCH_ITEMS = 1_000
BATCH_CHARACTERS = 1_000_000
BATCH_SECONDS = 0.25


@dataclass(slots=True)
class Reading:
    """An iterator on its way into the ledger.

    Attributes:
        most: so many bytes an item may have.
        nouns: what people call the items.
        number: of the last item that was read.
        digest: the hash of those that were skipped.
    """

    iterator: Iterator[Any]
    most: int
    nouns: Nouns
    number: int = 0
    digest: str = NO_ITEMS

    def next(self) -> str | None:
        """The next item as text; None at the end.

        Raises:
            SourceError: it is not a JSON value, or too large.
            Exception: whatever the iterable raised.
        """
        for value in self.iterator:
            text = encode_item(value, self.number + 1, self.most, self.nouns.item)
            self.number += 1
            return text
        return None

    def skip(self, found: Load, run_id: RunId) -> None:
        """Read again what is in the ledger already.

        Raises:
            SourceError: these are not the same items.
        """
        while self.number < found.items and (text := self.next()) is not None:
            self.digest = chained(self.digest, text)
        if self.digest != found.digest:
            items = f"{self.nouns.item}s"
            raise SourceError(
                f"The first {found.items} {items} are not those that run {run_id} was given before,"
                f" so nobody knows where to go on: give the same {items} in the same order, or use"
                " another idempotency key."
            )

    def close(self) -> None:
        """Let a generator end in order: nobody wants the rest."""
        close = getattr(self.iterator, "close", None)
        if close is not None:
            close()


@dataclass(slots=True)
class Batch:
    """Items that are still to be stored.

    Attributes:
        most: with so many it is full.
    """

    most: int = field(default_factory=lambda: BATCH_ITEMS)
    texts: list[str] = field(default_factory=list)
    characters: int = 0
    began: float = field(default_factory=time.monotonic)

    def add(self, text: str) -> None:
        """One more."""
        self.texts.append(text)
        self.characters += len(text)

    def digest_after(self, digest: str) -> str:
        """The hash of all items, from that of those before the batch."""
        for text in self.texts:
            digest = chained(digest, text)
        return digest

    @property
    def full(self) -> bool:
        """Whether to store it now."""
        return (
            len(self.texts) >= self.most
            or self.characters >= BATCH_CHARACTERS
            or time.monotonic() - self.began >= BATCH_SECONDS
        )
