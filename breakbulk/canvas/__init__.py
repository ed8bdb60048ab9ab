"""Celery's group, chain and chord on a ledger: ``from breakbulk.canvas import chain, group``.

The signatures are Celery's own and the tasks are unchanged. The whole is one run: its parts are
done at least once, its body is called once, and it is paused, watched and retried like any run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from breakbulk.canvas.handle import CanvasResult
from breakbulk.canvas.primitives import chain, chord, group
from breakbulk.canvas.submitting import ledger_of
from breakbulk.domain.nouns import CANVAS_JOB
from breakbulk.errors import CanvasError

if TYPE_CHECKING:
    from celery import Celery


def result(app: Celery, run_id: str | int) -> CanvasResult:
    """Find again what was applied, by its ``id``.

    Args:
        app: the Celery application of its tasks.

    Raises:
        CanvasError: the run is not one of a canvas, or that is no id of one.
        ConfigurationError: no ``Breakbulk`` was made for the application.
        RunNotFound: there is no such run.
    """
    bulk = ledger_of(app)
    try:
        number = int(run_id)
    except ValueError:
        raise CanvasError(
            f"{run_id!r} is no id of a canvas: give the id of what apply_async() gave, such as '17'"
            " (a task's id finds nothing, for parts have no result of their own)."
        ) from None
    run = bulk.run(number)
    job = run.record().job
    if job != CANVAS_JOB:
        raise CanvasError(
            f"Run {run_id} is one of {job} and not of a canvas: use bulk.run({run_id})."
        )
    return CanvasResult(bulk, run)


__all__ = ["CanvasResult", "chain", "chord", "group", "result"]
