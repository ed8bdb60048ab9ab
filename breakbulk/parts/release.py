"""Two Celery tasks of our own: a run's value goes to the run that awaits it, once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery import Celery
from kombu.utils.json import dumps

RELEASE_TASK = "breakbulk.release"
CANCEL_TASK = "breakbulk.cancel_awaiting"


def install_release(
    app: Celery,
    release: Callable[[int, str], Any],
    cancel: Callable[[int, str], Any],
) -> None:
    """Register them with the user's application.

    Args:
        release: lets a run start with a value; a second time it does nothing.
        cancel: ends a run whose value will not come; likewise.
    """
    options: dict[str, Any] = {
        "shared": False,
        "ignore_result": True,
        "max_retries": 0,
        "typing": False,
    }

    @app.task(name=RELEASE_TASK, **options)
    def release_run(run_id: int, value: str) -> None:
        """Let a run start that awaits a value."""
        release(run_id, value)

    @app.task(name=CANCEL_TASK, **options)
    def cancel_run(run_id: int, why: str) -> None:
        """End a run that awaits a value which will not come."""
        cancel(run_id, why)


def releasing(app: Celery, queue: str, run_id: int, value: str) -> str:
    """A signature, as text, that releases a run where it is executed."""
    return _text(app, queue, RELEASE_TASK, run_id, value)


def cancelling(app: Celery, queue: str, run_id: int, why: str) -> str:
    """A signature, as text, that cancels a run which awaits a value."""
    return _text(app, queue, CANCEL_TASK, run_id, why)


def _text(app: Celery, queue: str, task: str, *args: Any) -> str:
    # In the queue of the run, for which there are workers.
    return str(dumps(app.signature(task, args=args, immutable=True, options={"queue": queue})))
