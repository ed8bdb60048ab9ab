"""What unit tests of several rooms need."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
from celery import Celery

from breakbulk import jobs

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def unbound() -> Iterator[None]:
    """Whatever a test declares for nobody in particular is forgotten."""
    before = dict(jobs._unbound), dict(jobs._doubles)
    yield
    for now, then in zip((jobs._unbound, jobs._doubles), before, strict=True):
        now.clear()
        now.update(then)


@pytest.fixture
def app() -> Iterator[Celery]:
    """A Celery application without a broker, and without Breakbulk."""
    made = Celery("team", broker="memory://", set_as_current=False)
    # Or the next test would have them, too.
    made.task = partial(made.task, shared=False)  # type: ignore[method-assign]
    yield made
    made.close()
