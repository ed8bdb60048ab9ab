"""What alerts and dashboard ask for is what the ledger tells."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from breakbulk.metrics import Collector
from tests.support.deployment import DEPLOY

if TYPE_CHECKING:
    from tests.support.yard import Yard

_METRIC = re.compile(r"\bbreakbulk_[a-z_]+")


def test_every_metric_that_is_asked_for_or_documented_is_told(sqlite_yard: Yard) -> None:
    sqlite_yard.submit(sqlite_yard.job())
    told = {family.name for family in Collector(sqlite_yard.bulk).collect()}
    page = DEPLOY.parent / "docs" / "how-to" / "observe.md"
    for path in (
        DEPLOY / "monitoring" / "alerts.yaml",
        DEPLOY / "monitoring" / "dashboard.json",
        page,
    ):
        asked = set(_METRIC.findall(path.read_text()))
        assert asked
        assert asked <= told, path.name
