"""A platform that stands for the real ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.platform import Platform

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def platform() -> Iterator[Platform]:
    with Platform() as running:
        yield running
