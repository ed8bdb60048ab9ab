"""``breakbulk run`` of an iterable says how far it is while it is being read."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

    from tests.unit.cli.conftest import Shop

_NUMBERS = """
from breakbulk import Items

from shopfront import bulk


@bulk.job(name="count", chunk_size=2)
class Count:
    upto: int = 12

    def source(self):
        return Items(range(self.upto))

    def process(self, chunk):
        pass
"""


def test_the_count_goes_to_stderr(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.open()
    shop.write("store", _NUMBERS)
    monkeypatch.setattr("breakbulk.runner.reading.BATCH_ITEMS", 5)
    monkeypatch.setattr("breakbulk.console.loading.LINE_SECONDS", 0.0)
    done = shop("run", "count", target="store:bulk")
    assert done.exit_code == 0, done.output
    assert done.stdout == "Run 1 of count(upto=12) is submitted, ≈ 12 rows.\n"
    told = [line for line in done.stderr.splitlines() if "loading" in line]
    assert told == [f"Run 1 is loading, {items} items." for items in (5, 10, 12)]
    assert shop("run", "reprice", target="store:bulk").stderr.count("loading") == 0
