"""The look ahead of a run's frontier: one bounded walk over keys.

A plain select is counted off in one statement that returns nothing but the ends of chunks. With
a filter, a window of the base table's keys is measured first and then searched: so a filter that
matches nothing for a million keys costs a few short statements, not one that never returns. Where
matches turn out to be rare and the planner says that the rest of the table is cheap to read as
a whole, that is done once instead of going along the index, which costs five times as much.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from breakbulk.domain.chunk import Bounds, Cut, Scout, Walk
from breakbulk.domain.keys import encode_key
from breakbulk.errors import SourceError
from breakbulk.sources.ahead import Ahead
from breakbulk.sources.horizon import Horizon, Mark
from breakbulk.sources.witness import Unrecognised, Witness

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from breakbulk.domain.keys import Key
    from breakbulk.sources.keyspace import KeySpace

FIRST_WINDOW = 1_000
"""Base keys of the first window, as long as nothing is known about the filter."""

LARGEST_WINDOW = 100_000
"""Base keys that one statement passes at most. Larger windows are not faster per key."""

KEYS_PER_WALK = 400_000
"""Base keys that one walk passes at most before it reports how far it has got."""

GROWTH = 4
"""By how much a window grows when it did not fill a chunk."""

WHOLE_COST = 300_000.0
"""Planner's units up to which the rest of a table is read as a whole: a second or so."""

WHOLE_REACH = 40
"""The chunks wanted now must reach over one in so many of the keys left at least.

Then reading the rest as a whole, where a key costs a fourth or fifth of what it does in a window
(measured), is soon paid back: what lies behind those chunks is remembered for a while.
"""

RARE = 50
"""The planner must agree that no more than one key in so many matches."""

ENOUGH_TO_JUDGE = 20
"""First windows' worth of base keys to pass before a filter is called rare."""

WHOLE_KEYS = 20_000
"""Matching keys that are looked at when the rest of a table is read as a whole."""

LEAPS_PAY = 8
"""Chunks from which on it pays to leap from end to end, which takes another question at the end."""

TRIES = 5
"""Looks whose bounds may be deleted under our hands before the key is to blame."""


class Walker:
    """Walks one source's keys.

    What it remembers between calls (how far apart matches are, what lies behind the last chunk)
    saves time only. Every call is right without it.
    """

    def __init__(self, space: KeySpace, *, filtered: bool) -> None:
        self.filtered = filtered
        self.horizon = Horizon(space)
        self.witness = Witness(space)
        self.spacing = 1.0
        self._names = ", ".join(space.names)
        self.ahead: Ahead | None = None

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
        """Look ahead once (:meth:`breakbulk.sources.base.Source.walk`)."""
        if after is not None and encode_key(after) == encode_key(until):
            return Walk((), reached_end=True, scout=None)
        ahead, self.ahead = self.ahead, None
        ahead = (
            None if ahead is None or scout is not None else ahead.beyond(after, until, chunk_size)
        )
        for _ in range(TRIES):
            look = _Look(
                self,
                connection,
                after=after,
                until=until,
                chunk_size=chunk_size,
                chunks=chunks,
            )
            try:
                if ahead is not None and (ahead.ends or ahead.ended):
                    return look.cut(ahead)
                return look.go(scout if ahead is None else ahead.scout)
            except Unrecognised as error:
                lost, ahead = error, None
        raise self.unrecognised(lost.key)

    def unrecognised(self, key: Key) -> SourceError:
        """Describe the error of a key that changes on its way."""
        return SourceError(
            f"The key {encode_key(key)} of column {self._names} does not come back from the "
            "database as it was, so rows would be lost; walk the rows by another key=, or declare "
            "the column with the type that it has in the database."
        )

    def first_window(self, keys: int) -> int:
        """Count the base keys to pass for so many matches, judged by what was seen last."""
        return min(max(int(keys * self.spacing * 1.1), FIRST_WINDOW), LARGEST_WINDOW)

    def learn(self, passed: int, found: int, *, complete: bool) -> None:
        """Note how many matching keys were found in a window of base keys."""
        if complete:
            self.spacing = passed / found if found else max(self.spacing, float(passed))


class _Look:
    """One try at a walk, with its position."""

    def __init__(
        self,
        walker: Walker,
        connection: Connection,
        *,
        after: Key | None,
        until: Key,
        chunk_size: int,
        chunks: int,
    ) -> None:
        self._walker = walker
        self._horizon = walker.horizon
        self._connection = connection
        self._after = after
        self._until = until
        self._size = chunk_size
        self._chunks = chunks
        self._position = after
        self._seen = 0

    def go(self, scout: Scout | None) -> Walk:
        """Walk from where a scout has got."""
        if scout is not None:
            self._position, self._seen = scout.key, scout.rows
            if scout.rows >= self._size:  # the chunk size was lowered meanwhile
                cut = Cut(Bounds(self._after, scout.key), scout.rows)
                return Walk((cut,), reached_end=False, scout=None)
        if not self._walker.filtered:
            return self._plain()
        window = self._walker.first_window(self._wanted) if scout is None else scout.window
        passed, asked = 0, False
        while passed < KEYS_PER_WALK:
            if not asked and self._rare(passed):
                asked = True
                if self._worthwhile():
                    if scout is None:
                        # First say so, or every lane would read the whole rest at once.
                        break
                    return self._rest()
            walk = self._window(window)
            if walk is not None:
                return walk
            passed += window
            window = min(window * GROWTH, LARGEST_WINDOW)
        assert self._position is not None
        return Walk((), reached_end=False, scout=Scout(self._position, self._seen, window))

    @property
    def _wanted(self) -> int:
        return self._size * self._chunks - self._seen

    def _window(self, window: int) -> Walk | None:
        """Search one window; None when it holds no full chunk and there is more behind it."""
        edge = self._horizon.edge(self._connection, self._position, self._until, window)
        if edge is None:
            return self._known([], ended=True)
        ended = encode_key(edge) == encode_key(self._until)
        if not ended:
            self._walker.witness.recognise(self._connection, [edge])
        limit = self._wanted + 1
        marks = self._marks(edge, limit)
        keys, rows = _found(marks, self._seen)
        more = keys >= limit
        self._walker.learn(window, keys, complete=not more)
        if more or ended or any(mark.full for mark in marks):
            # Up to the edge all is known, or else up to the last match that was asked for.
            edge = marks[-1].key if more else edge
            return self._known(marks, ended=ended and not more, edge=edge, window=window)
        self._position, self._seen = edge, rows
        return None

    def _plain(self) -> Walk:
        if not self._seen and (walk := self._by_leaps()) is not None:
            return walk
        limit = self._wanted + 1
        marks = self._marks(self._until, limit, last=False)
        keys, rows = _found(marks, self._seen)
        if keys >= limit:
            return self._known(marks, ended=False)
        # The end is near: less than a chunk is left, which a run asks but once or twice.
        low = marks[-1].key if marks else self._position
        rest = self._horizon.remainder(self._connection, low, self._until, limit=self._size)
        marks.append(Mark(self._until, keys + rest, rows + rest, full=False))
        return self._known(marks, ended=rest < self._size)

    def _by_leaps(self) -> Walk | None:
        """The same, faster; None where that cannot be, does not pay, or the end is too near."""
        if self._chunks < LEAPS_PAY:
            return None
        marks = self._horizon.leap(
            self._connection, self._position, self._until, size=self._size, chunks=self._chunks
        )
        if marks is None or len(marks) < self._chunks:
            return None
        more = self._horizon.remainder(self._connection, marks[-1].key, self._until, limit=1)
        return self._known(marks, ended=False) if more else None

    def _rest(self) -> Walk:
        # Reading the whole rest again for each few chunks would cost more than going slowly.
        limit = max(self._wanted + 1, WHOLE_KEYS)
        marks = self._marks(self._until, limit, whole=True)
        keys, _ = _found(marks, self._seen)
        return self._known(marks, ended=keys < limit, edge=marks[-1].key if marks else None)

    def _marks(
        self, upto: Key, limit: int, *, whole: bool = False, last: bool = True
    ) -> list[Mark]:
        return self._horizon.marks(
            self._connection,
            self._position,
            upto,
            seen=self._seen,
            size=self._size,
            limit=limit,
            whole=whole,
            last=last,
        )

    def _rare(self, passed: int) -> bool:
        # Asking the planner is worth it only if windows would go on for long.
        far = self._walker.spacing * self._wanted
        return passed >= ENOUGH_TO_JUDGE * FIRST_WINDOW and far > LARGEST_WINDOW

    def _worthwhile(self) -> bool:
        price = self._horizon.price(self._connection, self._position, self._until)
        if price is None:
            return False
        matching, keys = price
        far = min(self._walker.spacing * self._wanted, keys)
        return (
            matching.cost <= WHOLE_COST
            and matching.rows * RARE <= max(keys, RARE)
            and far * WHOLE_REACH > keys
        )

    def _known(
        self, marks: list[Mark], *, ended: bool, edge: Key | None = None, window: int = 0
    ) -> Walk:
        return self.cut(
            Ahead(
                start=self._after,
                until=self._until,
                size=self._size,
                ends=tuple(mark for mark in marks if mark.full),
                ended=ended,
                rows=_found(marks, self._seen)[1],
                edge=edge,
                window=window,
            )
        )

    def cut(self, ahead: Ahead) -> Walk:
        """Make chunks of the places where they are full, and of what remains at the end."""
        cuts: list[Cut] = []
        low, before = self._after, 0
        for mark in ahead.ends[: self._chunks]:
            cuts.append(Cut(Bounds(low, mark.key), mark.rows - before))
            low, before = mark.key, mark.rows
        self._walker.witness.recognise(self._connection, [cut.bounds.upto for cut in cuts])
        self._walker.ahead = ahead
        remainder = ahead.rows - before
        if (
            not ahead.ended
            or len(ahead.ends) > self._chunks
            or (remainder and len(cuts) == self._chunks)
        ):
            return Walk(tuple(cuts), reached_end=False, scout=None)
        if cuts and not remainder:
            last = cuts.pop()
            low, remainder = last.bounds.after, last.rows
        cuts.append(Cut(Bounds(low, self._until), remainder))
        return Walk(tuple(cuts), reached_end=True, scout=None)


def _found(marks: list[Mark], seen: int) -> tuple[int, int]:
    """Matching keys of a look, and matching rows from the frontier on."""
    return (marks[-1].keys, marks[-1].rows) if marks else (0, seen)
