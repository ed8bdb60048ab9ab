"""Looking up the addresses of a name, within a time: the system's own resolver knows none.

``getaddrinfo`` has no timeout and cannot be interrupted, and a name server that says nothing, or a
directory behind it that hangs, may keep it for minutes or for ever. So it is asked in a thread
that can be left behind. Such threads must not pile up with every try, so there is one for each
name, which whoever asks again waits for, too, and a bound for all of them together.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future

#: Asks for a host's addresses, as text.
Resolve = Callable[[str, int], list[str]]
#: Look-ups under way in one process, most of which hang if there are so many.
_MOST = 32


def resolve(host: str, port: int) -> list[str]:
    """The addresses that the system gives for a host, however long it takes.

    Raises:
        OSError, UnicodeError: it gives none.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(one[4][0]) for one in found))


class LookUps:
    """Look-ups of one process.

    Args:
        resolve: asks for a host's addresses.
        most: how many may be under way.
    """

    def __init__(self, resolve: Resolve = resolve, most: int = _MOST) -> None:
        self._resolve = resolve
        self._most = most
        self.forget()

    def forget(self) -> None:
        """Begin anew, in a child that has none of its parent's threads."""
        self._lock = threading.Lock()
        self._under_way: dict[tuple[str, int], Future[list[str]]] = {}

    def addresses(self, host: str, port: int, seconds: float) -> list[str]:
        """The addresses of a host.

        Raises:
            TimeoutError: nobody has said so within that time.
            OSError, UnicodeError: it has none.
        """
        return self._ask(host, port).result(max(0.0, seconds))

    def _ask(self, host: str, port: int) -> Future[list[str]]:
        with self._lock:
            asked = self._under_way.get((host, port))
            if asked is None:
                if len(self._under_way) >= self._most:
                    raise TimeoutError
                asked = Future()
                # A daemon: no shutdown waits for it.
                threading.Thread(
                    target=self._answer,
                    args=(host, port, asked),
                    name=f"breakbulk-lookup-{host}",
                    daemon=True,
                ).start()
                self._under_way[host, port] = asked
            return asked

    def _answer(self, host: str, port: int, asked: Future[list[str]]) -> None:
        try:
            found = self._resolve(host, port)
        except BaseException as error:  # noqa: BLE001  (it is raised where it was asked for)
            self._is_over(host, port)
            asked.set_exception(error)
        else:
            self._is_over(host, port)
            asked.set_result(found)

    def _is_over(self, host: str, port: int) -> None:
        with self._lock:
            self._under_way.pop((host, port), None)


look_ups = LookUps()
os.register_at_fork(after_in_child=look_ups.forget)
