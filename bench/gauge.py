"""How much memory the broker uses while something goes on."""

from __future__ import annotations

import threading
from typing import Any, Self

from redis import Redis

_MEGABYTE = 1024 * 1024
_LOOK_SECONDS = 0.1


class Gauge:
    """Looks at the broker's memory again and again, as long as it is entered.

    Args:
        url: of a Redis or Valkey database.
    """

    def __init__(self, url: str) -> None:
        self._client: Any = Redis.from_url(url)
        self._before = self._most = self._now()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    @property
    def grown(self) -> float:
        """How much more it used at most than in the beginning, in MB."""
        return float(self._most - self._before) / _MEGABYTE

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._client.close()

    def _look(self) -> None:
        while not self._stop.wait(_LOOK_SECONDS):
            self._most = max(self._most, self._now())

    def _now(self) -> int:
        return int(self._client.info("memory")["used_memory"])
