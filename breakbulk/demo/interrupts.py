"""Signals that end the demo, at moments when it can be ended without leaving anything behind."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(KeyboardInterrupt):
    """A signal asks the demo to end.

    It is a KeyboardInterrupt because psycopg then cancels the statement that is running.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number

    @property
    def exit_code(self) -> int:
        """What a shell reports of a process that the signal ended."""
        return 128 + self.number


class Interrupts:
    """Turns the first signal into `Stopped` and swallows the others.

    They would cut short the clearing up after the first. A signal that we were started to ignore
    (nohup) stays ignored.
    """

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self._deferring = False
        self._deferred: int | None = None
        self._over = False

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Let what is begun come to its end first: a process is started *and* remembered."""
        self._deferring = True
        try:
            yield
        finally:
            self._deferring = False
            # Also when something failed meanwhile: a Ctrl-C reaches helper programs as well, and
            # that they ended is then no error.
            if self._deferred is not None and not self._over:
                self._stop(self._deferred)

    def ignore(self) -> None:
        """From now on we end anyway."""
        self._over = True

    def __enter__(self) -> Self:
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._received)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _received(self, number: int, _frame: FrameType | None) -> None:
        if self._over:
            return
        if self._deferring:
            self._deferred = self._deferred or number
        else:
            self._stop(number)

    def _stop(self, number: int) -> None:
        self._over = True
        raise Stopped(number)
