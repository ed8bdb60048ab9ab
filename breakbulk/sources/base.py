"""What the runner asks of a source of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import ColumnElement, Connection
    from sqlalchemy.orm import Session

    from breakbulk.domain.chunk import Bounds, Scout, Walk
    from breakbulk.domain.keys import Key

Row = TypeVar("Row")


class Source(Protocol[Row]):
    """Rows that can be walked in the order of a key, and cut into ranges of it.

    A source holds no transaction and no position: whoever calls brings the connection and
    says where to go on, because the next call may come from another process.
    """

    @property
    def fingerprint(self) -> str:
        """SHA-256 in hex of what is selected: the same in every process, or it is not the same."""
        ...

    @property
    def key_names(self) -> tuple[str, ...]:
        """The key's columns, in order."""
        ...

    def check(self, connection: Connection) -> None:
        """Look whether every row can be reached.

        Raises:
            SourceError: a row has no key, or a key that does not survive the journey.
        """
        ...

    def until(self, connection: Connection) -> Key | None:
        """Return the highest key there is, whatever the filter; None when there are no rows.

        Raises:
            SourceError: the database does not recognise its own value when it is sent back.
        """
        ...

    def walk(
        self,
        connection: Connection,
        *,
        after: Key | None,
        scout: Scout | None,
        until: Key,
        chunk_size: int,
        chunks: int,
    ) -> Walk:
        """Look a bounded number of keys ahead of a run's frontier.

        Args:
            connection: where the rows are; nothing is written.
            after: the frontier; None before the first chunk.
            scout: how far an earlier look has got from this same frontier.
            until: the run's last key.
            chunk_size: rows to a chunk.
            chunks: how many chunks to cut at most.

        Returns:
            Full chunks; at the end of the range also the smaller last one. No cuts and a
            scout when the look found less than one chunk and has not come to the end.

        Raises:
            SourceError: a key cannot be read, or the walk would make no progress.
        """
        ...

    def rows(self, session: Session, bounds: Bounds) -> Iterator[Row]:
        """Yield the rows within bounds, in the order of the key."""
        ...

    def keys(self, connection: Connection | Session, bounds: Bounds) -> Iterator[Key]:
        """Yield the keys within bounds, in order, each once."""
        ...

    def key_of(self, row: Row) -> Key:
        """Return the key of a row that :meth:`rows` gave.

        Raises:
            SourceError: the row does not carry its key.
        """
        ...

    def condition(self, bounds: Bounds) -> ColumnElement[bool]:
        """Return the SQL condition that holds for exactly the rows within bounds."""
        ...

    def estimate(self, connection: Connection) -> int | None:
        """Guess how many rows there are, in milliseconds; None when nobody knows."""
        ...

    def null_keys(self, connection: Connection) -> int:
        """Count the rows that no walk can reach because a column of their key is NULL."""
        ...

    def count(self, connection: Connection, until: Key | None) -> int:
        """Count the rows up to and including a key exactly; this may take long."""
        ...
