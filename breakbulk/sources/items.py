"""An iterable of JSON values as the source of a job, and its items as they lie in the ledger."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from sqlalchemy import and_, bindparam, func, select

from breakbulk.domain.chunk import Bounds, Cut, Walk
from breakbulk.domain.items import ITEM_KEY, ITEMS_FINGERPRINT, decode_item
from breakbulk.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from sqlalchemy import ColumnElement, Connection, Table
    from sqlalchemy.orm import Session

    from breakbulk.domain.chunk import RunId, Scout
    from breakbulk.domain.keys import Key

Item = TypeVar("Item")

PAGE = 1_000
"""Items that are read in one statement at most."""
_AHEAD = 64
"""Items that are read at once where each is a chunk, and a lane goes from one to the next."""


class Items(Generic[Item]):
    """An iterable of JSON values, as what a job's ``source()`` returns.

    Whoever submits the job reads it once, item by item, and stores the items in the ledger in
    batches; they are worked on as soon as they are there. Workers never read it.

    Args:
        iterable: of dicts with text for keys, lists, text, numbers, True, False and None.

    Raises:
        SourceError: it is no iterable, or one whose items are hardly meant, such as a text.
    """

    fingerprint = ITEMS_FINGERPRINT
    key_names = ITEM_KEY

    def __init__(self, iterable: Iterable[Item]) -> None:
        if isinstance(iterable, (str, bytes, bytearray, Mapping)) or not isinstance(
            iterable, Iterable
        ):
            raise SourceError(
                f"Items takes an iterable of JSON values, as in Items([1, 2, 3]) or a generator,"
                f" not {type(iterable).__name__}."
            )
        self.iterable = iterable


class StoredItems:
    """A :class:`breakbulk.sources.base.Source` over a run's items in the ledger.

    Their numbers have no holes, so that all but their values is known without asking.

    Args:
        table: the ledger's items.
        run_id: whose.
        ledger: opens a transaction that reads the ledger, where the rows' connection does not
            lead there.
    """

    fingerprint = ITEMS_FINGERPRINT
    key_names = ITEM_KEY

    def __init__(
        self,
        table: Table,
        run_id: RunId,
        ledger: Callable[[], AbstractContextManager[Connection]] | None = None,
    ) -> None:
        self._table = table
        self._run_id = run_id
        self._ledger = ledger
        self._handed = _Handed()
        self._next = 0
        self._known: dict[int, str] = {}
        self._page = (
            select(table.c.number, table.c.value)
            .where(
                table.c.run_id == run_id,
                table.c.number > bindparam("after"),
                table.c.number <= bindparam("upto"),
            )
            .order_by(table.c.number)
        )

    def check(self, connection: Connection) -> None:
        """Nothing can be wrong with an item's number."""

    def until(self, connection: Connection) -> Key | None:
        """Return the number of the last item; None when there is none."""
        table = self._table
        last = select(func.max(table.c.number)).where(table.c.run_id == self._run_id)
        found = self._ask(connection, last)
        return None if found is None else (int(found),)

    def walk(
        self,
        _connection: Connection,
        *,
        after: Key | None,
        scout: Scout | None,  # noqa: ARG002  (where there are no holes nobody has to scout)
        until: Key,
        chunk_size: int,
        chunks: int,
    ) -> Walk:
        """Cut off the next numbers; :meth:`breakbulk.sources.base.Source.walk` has the terms."""
        cuts: list[Cut] = []
        low, end = _number(after), _number(until)
        while low < end and len(cuts) < chunks:
            high = min(low + chunk_size, end)
            cuts.append(Cut(Bounds((low,) if low else None, (high,)), high - low))
            low = high
        return Walk(tuple(cuts), reached_end=low >= end, scout=None)

    def rows(self, session: Session, bounds: Bounds) -> Iterator[Any]:
        """Yield the items within bounds, in order."""
        handed = self._handed = self._handed.for_session(session)
        try:
            for number, text in self._texts(session, bounds):
                value = decode_item(text)
                handed.give(number, value)
                yield value
        finally:
            handed.at = None

    def keys(self, _connection: Connection | Session, bounds: Bounds) -> Iterator[Key]:
        """Yield the numbers within bounds, in order."""
        for number in range(_number(bounds.after) + 1, _number(bounds.upto) + 1):
            yield (number,)

    def key_of(self, row: Any) -> Key:
        """Return the number of an item as :meth:`rows` gave it.

        Raises:
            SourceError: it is not one of the chunk's items, or nobody can tell which.
        """
        return (self._handed.number_of(row),)

    def condition(self, bounds: Bounds) -> ColumnElement[bool]:
        """Return the SQL condition of exactly the items within bounds, in the ledger's table."""
        table = self._table
        return and_(
            table.c.run_id == self._run_id,
            table.c.number > _number(bounds.after),
            table.c.number <= _number(bounds.upto),
        )

    def estimate(self, connection: Connection) -> int | None:
        """Say how many items there are so far."""
        return _number(self.until(connection))

    def null_keys(self, _connection: Connection) -> int:
        """Every item has a number."""
        return 0

    def count(self, connection: Connection, until: Key | None) -> int:
        """Count the items up to and including a number, or all of them."""
        table = self._table
        counted = select(func.count()).where(table.c.run_id == self._run_id)
        if until is not None:
            counted = counted.where(table.c.number <= _number(until))
        return int(self._ask(connection, counted))

    def _texts(self, session: Session, bounds: Bounds) -> Iterator[tuple[int, str]]:
        low, end = _number(bounds.after), _number(bounds.upto)
        if end - low == 1:
            yield end, self._one(session, end)
            return
        while low < end:
            high = min(low + PAGE, end)
            page = self._read(session, low, high)
            if len(page) != high - low:
                raise SourceError(
                    f"Of the items {low + 1} to {high} only {len(page)} are in the ledger; somebody"
                    " has deleted some, so cancel the run and submit it again."
                )
            yield from page
            low = high

    def _one(self, session: Session, number: int) -> str:
        """Read an item; with those behind it where a lane goes from one to the next.

        Nothing changes an item once it is stored, so what was read ahead is what will be there.
        """
        known = self._known.pop(number, None)
        if known is None:
            high = number - 1 + (_AHEAD if number == self._next else 1)
            self._known = dict(self._read(session, number - 1, high))
            known = self._known.pop(number, None)
        if known is None:
            raise SourceError(
                f"The item {number} is not in the ledger; somebody has deleted some, so cancel the"
                " run and submit it again."
            )
        self._next = number + 1
        return known

    def _read(self, session: Session, low: int, high: int) -> list[tuple[int, str]]:
        ends = {"after": low, "upto": high}
        if self._ledger is None:
            page = session.execute(self._page, ends).all()
        else:
            with self._ledger() as connection:
                page = connection.execute(self._page, ends).all()
        return [(int(number), text) for number, text in page]

    def _ask(self, connection: Connection, query: Any) -> Any:
        if self._ledger is None:
            return connection.scalar(query)
        with self._ledger() as ledger:
            return ledger.scalar(query)


class _Handed:
    """Which item is at which position, of those that one attempt was given.

    An item is a plain value that cannot carry its number, and the same number or short text is
    the same object wherever it comes from. So an item is known by its identity, and one that
    the attempt was given several times only while it is the one in hand.
    """

    def __init__(self, session: Session | None = None) -> None:
        self._session = None if session is None else weakref.ref(session)
        self._numbers: dict[int, list[int]] = {}
        # Whoever lets go of an item could find another one in its place.
        self._kept: list[Any] = []
        self._told: set[int] = set()
        self.at: int | None = None

    def for_session(self, session: Session) -> _Handed:
        """Return this, or what another attempt begins with: it is given its items anew."""
        same = self._session is not None and self._session() is session
        return self if same else _Handed(session)

    def give(self, number: int, value: Any) -> None:
        """Note what comes next."""
        numbers = self._numbers.setdefault(id(value), [])
        if number not in numbers:
            numbers.append(number)
        self._kept.append(value)
        self.at = number

    def number_of(self, value: Any) -> int:
        """Return where a value was given.

        Raises:
            SourceError: nowhere, or at several places none of which is the one in hand.
        """
        numbers = self._numbers.get(id(value), [])
        if not numbers:
            raise SourceError(
                "key_for() was given what is not an item of this chunk; give it the item itself,"
                " as the chunk gave it, and no copy."
            )
        found = numbers[0]
        if len(numbers) > 1:
            at = self.at if self.at in numbers else None
            # One that was not asked for in its turn may be the one that is meant now.
            if at is None or not self._told.issuperset(one for one in numbers if one < at):
                places = ", ".join(map(str, numbers[:5]))
                raise SourceError(
                    f"Several items of this chunk are the same value ({places}), so key_for()"
                    " cannot tell which is meant; ask for each while the chunk gives it, or take"
                    " the keys from zip(chunk.row_keys, chunk)."
                )
            found = at
        self._told.add(found)
        return found


def _number(key: Key | None) -> int:
    """Return the number of a key; 0, before the first one, where there is none."""
    if key is None:
        return 0
    (number,) = key
    assert isinstance(number, int)
    return number
