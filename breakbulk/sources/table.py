"""Rows of a ``select()``, walked by its primary key or by another one."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, Row, and_, func, select, tuple_

from breakbulk.domain.keys import measure
from breakbulk.errors import SourceError
from breakbulk.sources.fingerprint import fingerprint
from breakbulk.sources.keyspace import fetch
from breakbulk.sources.planner import guess, live_rows
from breakbulk.sources.refuse import joins_outer
from breakbulk.sources.resolve import entities, resolve
from breakbulk.sources.walk import TRIES, Walker
from breakbulk.sources.witness import Unrecognised

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import ColumnElement, Connection, Select
    from sqlalchemy.orm import InstrumentedAttribute, Session

    from breakbulk.domain.chunk import Bounds, Scout, Walk
    from breakbulk.domain.keys import Key
    from breakbulk.sources.keyspace import KeySpace

    KeyColumn = ColumnElement[Any] | InstrumentedAttribute[Any]

CHEAP_COUNT = 100_000
"""Rows of a table up to which SQLite may count instead of guess."""
SEEN_ENOUGH = 0.05
"""Part of a table from which on it tells of the rest: statistics have a hundred steps."""


def table_source(
    statement: Select[*tuple[Any, ...]], key: KeyColumn | Sequence[KeyColumn] | None = None
) -> TableSource:
    """Make a source of a ``select()``.

    Args:
        statement: of one mapped class, of columns, or of a Core table; of several tables only
            with ``key``. Without ORDER BY, LIMIT, GROUP BY, DISTINCT and FOR UPDATE.
        key: the column or columns to walk by, all of one table and with an index; the primary
            key unless given. One that is not provably unique gets the primary key appended.

    Raises:
        SourceError: the statement cannot be walked.
    """
    return TableSource(resolve(statement, key))


class TableSource:
    """A :class:`breakbulk.sources.base.Source` over a ``select()``; see :func:`table_source`."""

    def __init__(self, space: KeySpace) -> None:
        self._space = space
        self._entity = next(
            (
                (entity, mapper)
                for entity, mapper in entities(space.statement)
                if space.base[0] in mapper.columns.values()
            ),
            None,
        )
        self._lowest = (
            select(*space.base)
            .where(*space.within(space.base, after=False, upto=False))
            .order_by(*space.base)
            .limit(1)
        )
        self._highest = (
            select(*space.base)
            .where(*space.within(space.base, after=False, upto=False))
            .order_by(*(column.desc() for column in space.base))
            .limit(1)
        )

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 in hex of the SQL text, its bound values and the key."""
        return fingerprint(self._space.statement.order_by(*self._space.columns))

    @property
    def key_names(self) -> tuple[str, ...]:
        """The key's columns, in order."""
        return self._space.names

    @property
    def key_columns(self) -> tuple[Column[Any], ...]:
        """The key's columns in the table."""
        return self._space.base

    @property
    def entity(self) -> type[Any] | None:
        """The mapped class that has the key; None for a plain table."""
        return None if self._entity is None else self._entity[1].class_

    @property
    def key_attributes(self) -> tuple[str, ...]:
        """The names of the key in the mapped class, or else in the table."""
        if self._entity is None:
            return tuple(column.key for column in self._space.base)
        mapper = self._entity[1]
        return tuple(mapper.get_property_by_column(column).key for column in self._space.base)

    def check(self, connection: Connection) -> None:
        """Look whether every row can be reached, by the lowest key, the highest and NULLs.

        Raises:
            SourceError: a row has no key, or a key does not survive the journey.
        """
        for end in (self._lowest, self._highest):
            self._end(connection, end)
        if not self._space.nullable:
            return
        lost = self._keys().where(self._space.missing(self._space.columns)).limit(1)
        if connection.execute(lost).first() is not None:
            raise SourceError(
                f"Some rows have NULL in the key {', '.join(self.key_names)} and could not be "
                f"reached; exclude them with .where({self.key_names[0]}.is_not(None)), or walk the "
                "rows by another key=."
            )

    def until(self, connection: Connection) -> Key | None:
        """Return the highest key of the base table; None when it is empty.

        Raises:
            SourceError: the database does not recognise its own value when it is sent back.
        """
        return self._end(connection, self._highest)

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
        """Look ahead of the frontier; :meth:`breakbulk.sources.base.Source.walk` has the terms."""
        return self._walker.walk(
            connection,
            after=after,
            scout=scout,
            until=until,
            chunk_size=chunk_size,
            chunks=chunks,
        )

    def rows(self, session: Session, bounds: Bounds) -> Iterator[Any]:
        """Yield mapped objects when the select is of one mapped class, else Row tuples."""
        space = self._space
        result = session.execute(self._ranges[bounds.after is not None], self._binds(bounds))
        if not self._gives_objects:
            yield from result
        elif space.single:
            # Eager loads of collections ask for this; it drops nothing, one row has one object.
            yield from result.unique().scalars()
        else:
            yield from result.scalars()

    def keys(self, connection: Connection | Session, bounds: Bounds) -> Iterator[Key]:
        """Yield the keys within bounds, in order, each once."""
        space = self._space
        statement = (
            self._keys()
            .where(*space.within(space.columns, after=bounds.after is not None))
            .order_by(*space.columns)
        )
        if not space.single:
            statement = statement.distinct()
        for row in connection.execute(statement, self._binds(bounds)):
            yield space.key(row)

    def key_of(self, row: Any) -> Key:
        """Return the key of a mapped object, or of a Row that has the key columns or the object.

        Raises:
            SourceError: the row does not carry its key.
        """
        if self.entity is not None:
            for candidate in row if isinstance(row, Row) else (row,):
                if isinstance(candidate, self.entity):
                    return self._space.key(getattr(candidate, name) for name in self.key_attributes)
        if isinstance(row, Row):
            try:
                return self._space.key(
                    row._mapping[column]  # noqa: SLF001 (public, whatever its name)
                    for column in self._space.columns
                )
            except KeyError:
                pass
        raise SourceError(
            f"The row does not carry its key; select {', '.join(self.key_names)}, too."
        )

    def condition(self, bounds: Bounds) -> ColumnElement[bool]:
        """Return the SQL condition of exactly the rows within bounds, the filter included.

        It is about the base table: ``update(Product).where(chunk.where)``.
        """
        space = self._space
        here = space.between(space.base, bounds.after, bounds.upto)
        if self._plain:
            where = space.statement.whereclause
            return and_(*here) if where is None else and_(*here, where)
        chosen = self._keys().where(*space.between(space.columns, bounds.after, bounds.upto))
        left = space.base[0] if len(space.base) == 1 else tuple_(*space.base)
        return and_(*here, left.in_(chosen))

    def estimate(self, connection: Connection) -> int | None:
        """Guess how many rows there are; a small table's are counted where there is no planner."""
        told = guess(connection, self._space.statement)
        if told is not None:
            live = live_rows(connection, self._space.table)
            every = guess(connection, select(*self._space.base))
            if live is None or every is None:
                return told.rows
            return round(told.rows * live / max(every.rows, 1))
        some = select(*self._space.base).limit(CHEAP_COUNT + 1).subquery()
        size = connection.scalar(select(func.count()).select_from(some))
        return self.count(connection, None) if size is not None and size <= CHEAP_COUNT else None

    def outlook(self, connection: Connection, upto: Key, until: Key, rows: int) -> int | None:
        """Guess how many rows there are up to ``until``, of those that lie up to a key.

        What has been seen of the rows tells more than what the planner thought of them all. It
        takes milliseconds.

        Args:
            connection: where the rows are.
            upto: as far as the rows are known.
            until: the run's last key.
            rows: how many lie up to ``upto``.

        Returns:
            None while too little was seen to say anything better than at first.
        """
        share = self._walker.horizon.share(connection, upto, until)
        if share is None and (known := self._known(connection)) is not None:
            return max(known, rows)
        if share is None:
            share = self._width(connection, upto, until)
        return None if share is None or share < SEEN_ENOUGH else max(round(rows / share), rows)

    def _known(self, connection: Connection) -> int | None:
        """What is a count, or as good as one, where the planner knows nothing of the keys."""
        if connection.dialect.name != "postgresql":
            return self.estimate(connection)
        return None if self._filtered else live_rows(connection, self._space.table)

    def _width(self, connection: Connection, upto: Key, until: Key) -> float | None:
        """Which part of the keys' range lies up to a key, if they can be reckoned with."""
        lowest = next((self._space.key(row) for row in fetch(connection, self._lowest, {})), None)
        if lowest is None or len(lowest) != 1:
            return None
        low, here, high = (measure(key[0]) for key in (lowest, upto, until))
        if low is None or here is None or high is None or not low < here < high:
            return None
        return (here - low) / (high - low)

    def null_keys(self, connection: Connection) -> int:
        """Count the rows whose key has a NULL."""
        if all(not column.nullable for column in self._space.base) and not joins_outer(
            self._space.statement
        ):
            return 0
        lost = self._keys().where(self._space.missing(self._space.columns)).subquery()
        return int(connection.scalar(select(func.count()).select_from(lost)) or 0)

    def count(self, connection: Connection, until: Key | None) -> int:
        """Count the rows up to and including a key, or all of them, exactly."""
        space = self._space
        rows = self._keys()
        if until is not None:
            rows = rows.where(*space.within(space.columns, after=False))
        values = {} if until is None else space.binds("upto", until)
        counted = select(func.count()).select_from(rows.subquery())
        return int(connection.scalar(counted, values) or 0)

    @cached_property
    def _ranges(self) -> tuple[Select[*tuple[Any, ...]], Select[*tuple[Any, ...]]]:
        """The rows up to a key, and those between two: built once, not for each chunk."""
        space = self._space
        first, other = (
            space.statement.where(*space.within(space.columns, after=after)).order_by(
                *space.columns
            )
            for after in (False, True)
        )
        return first, other

    @cached_property
    def _walker(self) -> Walker:
        return Walker(self._space, filtered=self._filtered)

    @property
    def _filtered(self) -> bool:
        mapped = self._entity is not None and self._entity[1].inherits is not None
        return not self._space.single or mapped or self._space.statement.whereclause is not None

    @property
    def _plain(self) -> bool:
        """Whether the statement's own filter can be used outside of it."""
        return self._space.single and all(
            getattr(column, "table", None) == self._space.table for column in self._space.columns
        )

    @cached_property
    def _gives_objects(self) -> bool:
        described = self._space.statement.column_descriptions
        return len(described) == 1 and described[0]["expr"] is described[0].get("entity")

    def _keys(self) -> Select[*tuple[Any, ...]]:
        # Labels, because a joined statement may have two columns of one name.
        columns = (column.label(f"key_{n}") for n, column in enumerate(self._space.columns))
        return self._space.statement.with_only_columns(*columns, maintain_column_froms=True)

    def _binds(self, bounds: Bounds) -> dict[str, object]:
        values = self._space.binds("upto", bounds.upto)
        return values if bounds.after is None else values | self._space.binds("after", bounds.after)

    def _end(self, connection: Connection, end: Select[*tuple[Any, ...]]) -> Key | None:
        key = None
        for _ in range(TRIES):
            key = next((self._space.key(row) for row in fetch(connection, end, {})), None)
            if key is None:
                return None
            try:
                self._walker.witness.recognise(connection, [key])
            except Unrecognised:
                continue
            return key
        assert key is not None
        raise self._walker.unrecognised(key)
