"""A yard on SQLite, for what does not depend on the database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.yard import Yard

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def sqlite_yard(sqlite_url: str) -> Iterator[Yard]:
    made = Yard(sqlite_url, rows=25)
    yield made
    made.close()
