"""A chunk's transaction that is begun when its code asks for the session, and not before."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Connection
from sqlalchemy.orm import Session

from breakbulk.errors import NothingAtWork
from breakbulk.ledger import Database
from breakbulk.runner.unit import Unit, troubled, unit


class LateUnit:
    """What :func:`breakbulk.runner.unit.unit` gives, once it is asked for.

    Args:
        database: where the rows are.
        connection: idle, to there.
        begin: begins the transaction; its seal.
        at_work: entered while the code works and does not wait for its turn to write.
        opened: called with the session, before the code gets it.
        at_once: do not wait to be asked.

    Attributes:
        unit: the open transaction; None while nobody has asked for it.
        seal: its seal.
    """

    def __init__(
        self,
        database: Database,
        connection: Connection,
        begin: Callable[[], object],
        at_work: Callable[[], AbstractContextManager[None]],
        opened: Callable[[Session], None] | None = None,
        *,
        at_once: bool = False,
    ) -> None:
        self._database = database
        self._connection = connection
        self._begin = begin
        self._at_work = at_work
        self._opened = opened
        self._at_once = at_once
        self._entered = ExitStack()
        self._trouble: BaseException | None = None
        self._over = False
        self.unit: Unit | None = None
        self.seal: object = None

    def __enter__(self) -> Self:
        if not self._at_once:
            self._entered.enter_context(self._at_work())
            return self
        with ExitStack() as trouble:
            trouble.push(self)
            self.session()
            trouble.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> Any:
        self._over = True
        return self._entered.__exit__(kind, error, trace)

    @property
    def troubled(self) -> bool:
        """Whether there is a transaction, or was to be one, that can only be rolled back."""
        if self._trouble is not None:
            return True
        return self.unit is not None and troubled(self.unit.session)

    def session(self) -> Session:
        """The session of the transaction, which is begun by the first call.

        Raises:
            NothingAtWork: the code has returned.
        """
        if self._trouble is not None:
            raise self._trouble
        if self.unit is None:
            if self._over:
                raise NothingAtWork(
                    "This part has ended, and so has its session: ask for the chunk's session while"
                    " it is at work, in its own thread."
                )
            try:
                self._open()
            except BaseException as error:
                # Whoever swallows it has not done what he wanted to do.
                self._trouble = error
                raise
        assert self.unit is not None
        return self.unit.session

    def end(self) -> Unit | None:
        """The code has returned: the transaction that it has worked in; None if in none.

        Raises:
            BaseException: what kept the transaction from being begun, if the code did not say so.
        """
        self._over = True
        if self._trouble is not None:
            raise self._trouble
        if self.unit is None:
            # What follows may have to wait for its turn, which is no time of the code's.
            self._entered.close()
        return self.unit

    def _open(self) -> None:
        if not self._database.is_postgresql:
            # Who waits for his turn behind a chunk that hangs hangs not.
            self._entered.close()
            self._entered.enter_context(self._database.turn())
            self._entered.enter_context(self._at_work())
        opened = self._entered.enter_context(unit(self._database, self._connection))
        self.seal = self._begin()
        if self._opened is not None:
            self._opened(opened.session)
        self.unit = opened
