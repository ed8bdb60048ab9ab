"""A Celery application without a broker, and without Breakbulk."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
from celery import Celery

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def app() -> Iterator[Celery]:
    """The application."""
    made = Celery("team", broker="memory://", set_as_current=False)
    # Or the next test would have them, too.
    made.task = partial(made.task, shared=False)  # type: ignore[method-assign]
    yield made
    made.close()
