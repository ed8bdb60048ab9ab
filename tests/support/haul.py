"""The job that is worked on under fire: not idempotent, of uneven pace, and obedient."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Select, select, update

from tests.support.deeds import DEEDS, befall
from tests.support.orders import Orders

if TYPE_CHECKING:
    from collections.abc import Callable

    from breakbulk import Chunk, FinishedRun

#: The slowest chunk takes so many times as long as the fastest.
_UNEVEN = 4.0


def make(model: Any, note: Callable[[FinishedRun], None]) -> type[Any]:
    """Make the job for a model that has an ``id`` and a ``version``.

    Args:
        note: called when it is finished.
    """

    class Haul:
        """Count each row's version up, while things go wrong.

        Attributes:
            seconds: a chunk's own work at most, drawn anew for each attempt.
            orders: directory of :class:`Orders`.
            first: lowest key of its rows, and ``last`` the highest; 0 and 0: all rows.
        """

        seconds: float = 0.0
        orders: str = ""
        first: int = 0
        last: int = 0

        def source(self) -> Select[Any]:
            return select(model).where(*self._range())

        def process(self, chunk: Chunk[Any]) -> None:
            orders = Orders(self.orders)
            dice = random.Random(f"{chunk.run.id} {chunk.number} {chunk.attempt}")
            whole = 0.0 if orders.hurried else dice.uniform(self.seconds / _UNEVEN, self.seconds)
            before = dice.uniform(0, whole)
            time.sleep(before)  # the work itself, part of it before the rows are locked
            table = model.__table__
            # Writes what would be wrong if it were written twice.
            chunk.session.execute(
                update(table).where(chunk.where).values(version=table.c.version + 1)
            )
            time.sleep(whole - before)  # and part of it while they are
            poison = orders.poison()
            for key in chunk.row_keys if poison else ():
                befall(poison.get(str(key[0])), f"row {key[0]!r}")
            for name, deed in DEEDS.items():
                details = orders.take(name, chunk=f"{chunk.run.id}-{chunk.number}")
                if details is not None:
                    deed(chunk.session, **details)

        def finished(self, run: FinishedRun) -> None:
            note(run)

        def _range(self) -> list[ColumnElement[bool]]:
            return [model.id.between(self.first, self.last)] if self.last else []

    return Haul
