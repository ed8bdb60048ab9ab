"""Celery's Redis backend, with a place between its two steps at which a test kills a process."""

from __future__ import annotations

import os
import signal
from typing import Any

from celery.backends.redis import RedisBackend
from redis import Redis

from tests.outside.application import VARIABLE, Config


class TrappedBackend(RedisBackend):
    """It does what Celery's does, unless a trap is laid."""

    def on_chord_part_return(
        self, request: Any, state: str, result: Any, propagate: bool | None = None, **options: Any
    ) -> None:
        """The result is stored, and the part not counted yet."""
        if VARIABLE in os.environ:
            with Redis.from_url(Config.from_environment().notes) as notes:
                if notes.getdel("trap:after storing"):
                    os.kill(os.getpid(), signal.SIGKILL)
        super().on_chord_part_return(request, state, result, propagate, **options)

    def remove_pending_result(self, result: Any) -> Any:
        """Somebody has thrown a result away: do not ask a server for that which may be gone."""
        self._remove_pending_result(result)  # type: ignore[attr-defined]
        return result
