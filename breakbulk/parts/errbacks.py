"""Error callbacks as Celery defines them: some are called where it failed, others are sent.

https://docs.celeryq.dev/en/stable/userguide/calling.html#linking-callbacks-errbacks
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from functools import partial
from typing import Any

from celery import Celery
from celery.app.task import Context
from celery.canvas import maybe_signature
from celery.exceptions import NotRegistered
from celery.utils.functional import arity_greater

from breakbulk.parts.signatures import with_value

log = logging.getLogger("breakbulk.parts")


def tell_errbacks(
    app: Celery,
    errbacks: Iterable[Any],
    request: dict[str, Any],
    error: BaseException,
    traceback: str,
) -> tuple[str, ...]:
    """Call those that take ``(request, exc, traceback)``; give back what is to be sent.

    Args:
        errbacks: signatures.
        request: of the task that has failed.
        traceback: as text.

    Returns:
        Signatures as text: those of one argument with the task's id in front, immutable ones as
        they are.
    """
    outgoing: list[str] = []
    context = Context(request)
    for one in errbacks:
        errback: Any = maybe_signature(one, app=app)
        if not _is_called(errback):
            outgoing += with_value(errback, app, request["id"])
            continue
        try:
            errback(context, error, traceback)
        except Exception:  # an error callback changes nothing about the failure
            log.exception("the error callback %s has failed itself", errback.task)
    return tuple(outgoing)


def _is_called(errback: Any) -> bool:
    """Whether it takes more than a task's id, and this process knows it."""
    if errback.get("subtask_type"):
        return False
    try:
        header = getattr(errback.type, "__header__", None)
    except NotRegistered:
        # Another worker may know it.
        return False
    # A bound task is always sent, so that it can be retried.
    if header is None or isinstance(header, partial):
        return False
    if not errback.immutable and (errback.args or errback.kwargs):
        try:
            return bool(arity_greater(partial(header, *errback.args, **errback.kwargs), 1))
        except (TypeError, ValueError):
            pass
    return bool(arity_greater(header, 1))
