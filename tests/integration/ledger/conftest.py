"""Fixtures of runs that are long."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.plans import make_long_run

if TYPE_CHECKING:
    from breakbulk import RunHandle
    from tests.support.yard import Yard


@pytest.fixture
def long_run(yard: Yard) -> RunHandle:
    """A run with many chunks: done, but for a few at its end."""
    return make_long_run(yard)
