"""Yards whose application is a Pyramid one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.pyramid_yard import PyramidYard

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine


@pytest.fixture
def make_yard(clean_engine: Engine) -> Iterator[Any]:
    """Call it for a yard with goods, on each kind of database in turn."""
    yards: list[PyramidYard] = []

    def make(**options: Any) -> PyramidYard:
        yards.append(PyramidYard(clean_engine, **{"rows": 25, **options}))
        return yards[-1]

    yield make
    for yard in yards:
        yard.close()
