"""Where user code meets the application around it: the context it is called in, and who is told.

Breakbulk knows no web framework. An application that has one says with a *context* what its code
expects to find around it (an application context, a request, open connections), and with *notify*
whom to tell, in the same transaction, that a run is submitted or has ended.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol

from breakbulk.runner.chunk import Chunk, FinishedRun, SubmittedRun

log = logging.getLogger("breakbulk.context")

Handed = Chunk[Any] | FinishedRun | SubmittedRun


class Context(Protocol):
    """What is put around each call of ``process``, ``finished``, ``failed`` and *notify*.

    A callable that takes what the code is handed (a ``Chunk``, a ``FinishedRun``, a
    ``SubmittedRun``) and returns a context manager. What that gives when it is entered becomes
    ``chunk.request`` (or ``run.request``). For Flask that is
    ``context=lambda _handed: flask_app.app_context()``.

    It is entered in the process that works, once for each chunk, inside the chunk's transaction
    and before the code is called. Not being able to enter it is a failure of the attempt. It is
    left after the commit (or the rollback, with the error), and by then cannot change the
    outcome: what it raises is logged, and no error is kept from Breakbulk. ``source()`` is called
    outside of it.
    """

    def __call__(self, handed: Handed, /) -> AbstractContextManager[Any]:
        """The surroundings for one call."""


class Notify(Protocol):
    """Who is told of every run, in the transaction that submits or ends it.

    It is called with a ``SubmittedRun`` once a run is written down, and with a ``FinishedRun``
    after the job's own ``finished`` or ``failed``, for jobs without these, too. What it writes
    through ``run.session`` commits once, together with that. What it raises refuses the submit,
    and makes the callback fail, which is then tried again by the job's retry policy.
    """

    def __call__(self, run: SubmittedRun | FinishedRun, /) -> None:
        """Be told."""


def surrounded(context: Context | None, handed: Handed) -> AbstractContextManager[None]:
    """Call user code in the application's context, which cannot change what becomes of it."""
    return nullcontext() if context is None else _inside(context, handed)


@contextmanager
def _inside(context: Context, handed: Handed) -> Iterator[None]:
    manager = context(handed)
    handed.request = manager.__enter__()
    try:
        yield
    except BaseException as error:
        _leave(manager, error)
        raise
    _leave(manager, None)


def _leave(manager: AbstractContextManager[Any], error: BaseException | None) -> None:
    about = (None, None, None) if error is None else (type(error), error, error.__traceback__)
    try:
        manager.__exit__(*about)
    except Exception as trouble:
        if trouble is not error:
            log.exception("the context around a job's code could not be left in order")
