"""What came of items, and what an attempt leaves for the next one, for jobs that keep results.

A result is written in the transaction that marks its item done, a state in the transaction that
gives its item back. So neither tells of what was rolled back.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sqlalchemy import Connection, Dialect, bindparam, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from breakbulk.domain.chunk import RunId
from breakbulk.ledger.database import Database
from breakbulk.ledger.driver import is_psycopg, tell


@dataclass(frozen=True, slots=True)
class ItemState:
    """What the attempts of this round have left.

    Attributes:
        agains: so many of them have asked for another one; these cost no try.
        value: JSON text of the last of them; None where it left none.
    """

    agains: int = 0
    value: str | None = None


class Results:
    """The results of one ledger. Every method works on the caller's connection."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._text: str | None = None

    def put(self, connection: Connection, run_id: RunId, number: int, value: str) -> None:
        """Write a result down, in the place of an earlier one of that number."""
        values = {"of_run": run_id, "of_number": number, "result": value}
        if is_psycopg(connection.connection.driver_connection):
            tell(connection, self._put_text(connection.dialect), values)
        else:
            connection.execute(self._put, values)

    @cached_property
    def _put(self) -> Any:
        dialect = postgresql if self._database.is_postgresql else sqlite
        written = dialect.insert(self._database.schema.results).values(
            run_id=bindparam("of_run"), number=bindparam("of_number"), value=bindparam("result")
        )
        return written.on_conflict_do_update(
            index_elements=["run_id", "number"], set_={"value": written.excluded.value}
        )

    def _put_text(self, dialect: Dialect) -> str:
        if self._text is None:
            self._text = str(self._put.compile(dialect=dialect))
        return self._text

    def get(self, connection: Connection, run_id: RunId, number: int) -> str | None:
        """One result, as JSON text; None where there is none."""
        table = self._database.schema.results
        query = select(table.c.value).where(table.c.run_id == run_id, table.c.number == number)
        value: str | None = connection.execute(query).scalar_one_or_none()
        return value

    def page(self, connection: Connection, run_id: RunId, start: int, stop: int) -> dict[int, str]:
        """The results with numbers from ``start`` up to and without ``stop``, in their order."""
        table = self._database.schema.results
        query = select(table.c.number, table.c.value).where(
            table.c.run_id == run_id, table.c.number >= start, table.c.number < stop
        )
        rows = connection.execute(query.order_by(table.c.number))
        return {int(row.number): row.value for row in rows}

    def state(
        self,
        connection: Connection,
        run_id: RunId,
        number: int,
        round: int,  # noqa: A002  (the field's own word)
    ) -> ItemState:
        """What the attempts of a round have left for the next one at an item."""
        table = self._database.schema.item_states
        row = connection.execute(
            select(table.c.agains, table.c.value).where(
                table.c.run_id == run_id, table.c.number == number, table.c.round == round
            )
        ).one_or_none()
        return ItemState() if row is None else ItemState(row.agains, row.value)

    def leave(
        self,
        connection: Connection,
        run_id: RunId,
        number: int,
        round: int,  # noqa: A002  (the field's own word)
        state: ItemState,
    ) -> None:
        """Leave a state for the next attempt, in the place of an earlier one."""
        table = self._database.schema.item_states
        dialect = postgresql if self._database.is_postgresql else sqlite
        values = {"round": round, "agains": state.agains, "value": state.value}
        written = dialect.insert(table).values(run_id=run_id, number=number, **values)
        connection.execute(
            written.on_conflict_do_update(index_elements=["run_id", "number"], set_=values)
        )

    def forget(self, connection: Connection, run_id: RunId, number: int) -> None:
        """Leave nothing for the next attempt at an item: it begins anew."""
        table = self._database.schema.item_states
        connection.execute(delete(table).where(table.c.run_id == run_id, table.c.number == number))
