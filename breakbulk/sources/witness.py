"""Does the database recognise its own keys when they are sent back?

A float4 comes as 3.4028235e38 and is another number as a float8; SQLite sorts dates as text,
however they were written. Bounds like these would lose rows or go round in circles, so every
bound is looked up before it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import func, select

from breakbulk.domain.keys import encode_key
from breakbulk.sources.keyspace import fetch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from breakbulk.domain.keys import Key
    from breakbulk.sources.keyspace import KeySpace

KEYS_PER_QUESTION = 16
"""Keys looked up by one statement, whose text is always the same."""


class Unrecognised(Exception):
    """No row has this key: either it was deleted just now, or it did not come back as it was."""

    def __init__(self, key: Key) -> None:
        super().__init__(encode_key(key))
        self.key = key


class Witness:
    """Looks keys up in the base table."""

    def __init__(self, space: KeySpace) -> None:
        self._space = space
        counted = select(func.count()).select_from(space.table)
        self._one = counted.where(space.one_of(1))
        self._many = counted.where(space.one_of(KEYS_PER_QUESTION))

    def recognise(self, connection: Connection, keys: Sequence[Key]) -> None:
        """Look up keys that were read from the base table a moment ago, all different.

        Raises:
            Unrecognised: with the first key that no row has (any more).
        """
        doubtful = [key for key in keys if not self._space.certain(key, connection.dialect)]
        for start in range(0, len(doubtful), KEYS_PER_QUESTION):
            some = doubtful[start : start + KEYS_PER_QUESTION]
            if len(some) > 1 and self._found(connection, some) == len(some):
                continue
            for key in some:
                if self._found(connection, [key]) != 1:
                    raise Unrecognised(key)

    def _found(self, connection: Connection, keys: Sequence[Key]) -> int:
        wanted = 1 if len(keys) == 1 else KEYS_PER_QUESTION
        values = {
            name: value
            for number in range(wanted)
            for name, value in self._space.binds(
                f"key_{number}", keys[min(number, len(keys) - 1)]
            ).items()
        }
        ((found,),) = fetch(connection, self._one if wanted == 1 else self._many, values)
        return int(found)
