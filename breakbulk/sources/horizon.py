"""The statements of a walk, built once so that their text never changes.

Unchanging text is what lets SQLAlchemy reuse the compiled statement and psycopg prepare it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    BigInteger,
    Integer,
    bindparam,
    cast,
    func,
    literal,
    literal_column,
    or_,
    select,
    text,
    true,
)

from breakbulk.sources.keyspace import fetch
from breakbulk.sources.planner import Guess, guess

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import ColumnElement, Connection
    from sqlalchemy.sql.selectable import CTE, Subquery

    from breakbulk.domain.keys import Key
    from breakbulk.sources.keyspace import KeySpace, Statement


@dataclass(frozen=True, slots=True)
class Mark:
    """A key on the way, and how many matching rows lie up to it.

    Attributes:
        key: the place.
        keys: distinct matching keys from the start of the look to here, this one included.
        rows: matching rows from the frontier to here, those of this key included.
        full: a chunk is full here.
    """

    key: Key
    keys: int
    rows: int
    full: bool


class Horizon:
    """Asks where the next chunks end within a range of keys."""

    def __init__(self, space: KeySpace) -> None:
        self._space = space
        self._statements: dict[tuple[Any, ...], Statement] = {}
        self._leapable: bool | None = None

    def _once(self, build: Callable[..., Statement], *, after: bool, **given: int) -> Statement:
        """Build a statement when it is first needed: a walk needs few, and each takes its time.

        Args:
            after: with a lower end: a NULL in its place would hide the index from a planner.
        """
        key = (build.__name__, after, *given.values())
        if key not in self._statements:
            self._statements[key] = build(after=after, **given)
        return self._statements[key]

    def edge(
        self, connection: Connection, position: Key | None, until: Key, window: int
    ) -> Key | None:
        """Return the key a number of base keys further on, or the last there is before that.

        None when no key is left up to ``until``.
        """
        values = self._ends(position, until) | {"breakbulk_window": window}
        edge = self._once(self._edge, after=position is not None)
        for row in fetch(connection, edge, values):
            return self._space.key(row)
        return None

    def marks(
        self,
        connection: Connection,
        position: Key | None,
        upto: Key,
        *,
        seen: int,
        size: int,
        limit: int,
        whole: bool = False,
        last: bool = True,
    ) -> list[Mark]:
        """Find where chunks are full within a range, and the last match in it.

        Args:
            connection: where the rows are.
            position: from here, exclusive.
            upto: to here, inclusive.
            seen: matching rows that lie between the frontier and ``position``.
            size: rows to a chunk.
            limit: how many matching keys to look at, at most.
            whole: collect all matches first, in whatever order is fastest to read. Right when
                they are few and far between; a planner with a LIMIT in sight and a wrong idea
                of the filter would go along the index instead, at several times the price.
            last: False gives the last match only if it is the one at the limit, for 72 µs
                instead of 117 for 500 keys: to know that none comes after it, the database
                keeps each (measured on PostgreSQL). Only without ``whole``.
        """
        if whole and connection.dialect.name == "postgresql":
            # A prepared plan does not know how far apart the ends are this time.
            connection.execute(_PLAN_ANEW)
        values = self._ends(position, upto) | {
            "breakbulk_seen": seen,
            "breakbulk_size": size,
            "breakbulk_limit": limit,
        }
        found = self._once(self._boundaries, after=position is not None, whole=whole, last=last)
        return [
            Mark(self._space.key(key), int(keys), int(rows) + seen, bool(full))
            for *key, keys, rows, full in fetch(connection, found, values)
        ]

    def leap(
        self, connection: Connection, position: Key | None, until: Key, *, size: int, chunks: int
    ) -> list[Mark] | None:
        """Find where up to so many full chunks end, by leaps from end to end.

        An index is passed over without looking at what is in it: 2.1 to 2.7 times faster than to
        number the keys (measured on PostgreSQL, 125,000 keys). Right only for rows that are all
        taken, and where each leap is short, which takes an index of a plain table.

        Returns:
            None where it cannot be done so.
        """
        if not self._may_leap(connection):
            return None
        leaps = self._once(self._leaping, after=position is not None, size=size)
        values = self._ends(position, until) | {"breakbulk_chunks": chunks}
        rows = fetch(connection, leaps, values)
        return [
            Mark(self._space.key(key), number * size, number * size, full=True)
            for *key, number in rows
        ]

    def remainder(
        self, connection: Connection, position: Key | None, upto: Key, *, limit: int
    ) -> int:
        """Count the matching keys of a range, up to so many."""
        values = self._ends(position, upto) | {"breakbulk_limit": limit}
        rest = self._once(self._remainder, after=position is not None)
        ((found,),) = fetch(connection, rest, values)
        return int(found)

    def price(
        self, connection: Connection, position: Key | None, until: Key
    ) -> tuple[Guess, int] | None:
        """Guess the price of reading all matches of the rest, and the keys in the rest."""
        after, values = position is not None, self._ends(position, until)
        matching = guess(connection, self._once(self._hits, after=after), values)
        passed = guess(connection, self._once(self._all, after=after), values)
        return None if matching is None or passed is None else (matching, passed.rows)

    def share(self, connection: Connection, upto: Key, until: Key) -> float | None:
        """Guess which part of the matches up to ``until`` lies up to a key; None if unknown.

        Two guesses may both be wrong by the same factor, and their ratio is right all the same. A
        planner without statistics takes every range for the same part of a table: it knows nothing.
        """
        hits = self._once(self._hits, after=False)
        head = guess(connection, hits, self._ends(None, upto))
        whole = guess(connection, hits, self._ends(None, until))
        if head is None or whole is None or head.rows >= whole.rows:
            return None
        return head.rows / whole.rows

    def _ends(self, position: Key | None, upto: Key) -> dict[str, object]:
        values = self._space.binds("upto", upto)
        return values if position is None else values | self._space.binds("after", position)

    def _edge(self, *, after: bool) -> Statement:
        space = self._space
        window = (
            select(*(column.label(f"key_{n}") for n, column in enumerate(space.base)))
            .where(*space.within(space.base, after=after))
            .order_by(*space.base)
            .limit(bindparam("breakbulk_window", type_=Integer))
            .subquery("span")
        )
        # The highest of them: a sort that keeps one row, where row numbers cost three times more
        # and MAX knows neither composite keys nor UUIDs.
        return select(*window.c).order_by(*(column.desc() for column in window.c)).limit(1)

    def _may_leap(self, connection: Connection) -> bool:
        """Whether the keys are the primary key of what is a plain table to the database, too."""
        if self._leapable is None:
            table = self._space.table
            self._leapable = (
                connection.dialect.name == "postgresql"
                and self._space.single
                and self._space.base == tuple(table.primary_key.columns)
                and bool(connection.scalar(_HAS_KEY, {"name": table.fullname}))
            )
        return self._leapable

    def _leaping(self, *, after: bool, size: int) -> Statement:
        """From end to end, each found by leaving out the rows of a chunk.

        The numbers are written out: not knowing how far a leap goes, a planner might sort the whole
        table for each.
        """
        space = self._space
        skip = literal(size - 1, Integer, literal_execute=True)
        one = literal(1, Integer, literal_execute=True)

        def end(*where: ColumnElement[bool]) -> Any:
            keys = [column.label(f"key_{n}") for n, column in enumerate(space.columns)]
            found = space.statement.with_only_columns(*keys, maintain_column_froms=True)
            return found.where(*where).order_by(*space.columns).offset(skip).limit(one)

        first = end(*space.within(space.columns, after=after)).subquery("first")
        ends = select(*first.c, literal_column("1").label("number")).cte("ends", recursive=True)
        *last, number = ends.c
        beyond = [space.beyond(space.columns, last), *space.within(space.columns, after=False)]
        following = end(*beyond).lateral("following")
        further = (
            select(*following.c, number + literal_column("1"))
            .select_from(ends.join(following, true()))
            .where(number < bindparam("breakbulk_chunks", type_=Integer))
        )
        ends = ends.union_all(further)
        return select(*ends.c).order_by(ends.c.number)

    def _all(self, *, after: bool) -> Statement:
        space = self._space
        return select(*space.base).where(*space.within(space.base, after=after))

    def _hits(self, *, after: bool) -> Statement:
        space = self._space
        keys = [column.label(f"key_{n}") for n, column in enumerate(space.columns)]
        hits: Statement = space.statement.with_only_columns(
            *keys, maintain_column_froms=True
        ).where(*space.within(space.columns, after=after))
        if space.single:
            return hits
        return hits.add_columns(func.count().label("hits")).group_by(*space.columns)

    def _remainder(self, *, after: bool) -> Statement:
        # In order, so that a planner goes along the index instead of reading the whole table.
        some = self._hits(after=after).order_by(*self._space.columns)
        limit = bindparam("breakbulk_limit", type_=Integer)
        return select(func.count()).select_from(some.limit(limit).subquery())

    def _boundaries(self, *, after: bool, whole: bool, last: bool) -> Statement:
        hits: Subquery | CTE
        limit = bindparam("breakbulk_limit", type_=Integer)
        if whole:
            every = self._hits(after=after).cte("every").prefix_with("MATERIALIZED")
            hits = (
                select(*every.c)
                .order_by(*list(every.c)[: len(self._space.base)])
                .limit(limit)
                .subquery("hits")
            )
        else:
            found = self._hits(after=after).order_by(*self._space.columns).limit(limit)
            hits = found.subquery("hits")
        keys = list(hits.c)[: len(self._space.base)]
        order = keys
        number = func.row_number().over(order_by=order)
        size = bindparam("breakbulk_size", type_=BigInteger)
        seen = bindparam("breakbulk_seen", type_=BigInteger)
        rows: Any = number
        if not self._space.single:
            # SUM makes a numeric of bigints.
            rows = cast(func.sum(hits.c.hits).over(order_by=order), BigInteger)
        final = func.lead(keys[0]).over(order_by=order).is_(None) if last else number == limit
        numbered = select(
            *keys,
            number.label("number"),
            rows.label("total"),
            *(() if self._space.single else (hits.c.hits,)),
            final.label("last"),
        ).subquery("numbered")
        total = numbered.c.total + seen
        if self._space.single:
            full = total % size == 0
        else:
            # Rows of one key stay together, so a chunk is full where the total passes a multiple.
            full = total // size > (total - numbered.c.hits) // size
        keys = list(numbered.c)[: len(keys)]
        return (
            select(*keys, numbered.c.number, numbered.c.total, full.label("filled"))
            .where(or_(full, numbered.c.last))
            .order_by(*keys)
        )


_HAS_KEY = text(
    "SELECT EXISTS (SELECT FROM pg_index JOIN pg_class ON pg_class.oid = indrelid"
    " WHERE indrelid = to_regclass(:name) AND indisprimary AND indisvalid"
    " AND relkind = 'r' AND NOT relhassubclass)"
)
_PLAN_ANEW = text("SELECT set_config('plan_cache_mode', 'force_custom_plan', true)")
