"""What unit tests of several rooms need."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

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
