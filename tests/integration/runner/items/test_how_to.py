"""The example of the how-to on items, as it is printed there."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from breakbulk import RunStatus
from tests.support.yard import Goods

if TYPE_CHECKING:
    import pytest

    from tests.support.yard import Yard

_PAGE = Path(__file__).parents[4] / "docs" / "how-to" / "items.md"


def test_a_bad_row_of_the_how_to_is_not_waited_for(
    yard: Yard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = re.findall(r"```python\n(.*?)```", _PAGE.read_text("utf-8"), re.DOTALL)
    shop = ModuleType("shop")
    shop.__dict__.update(bulk=yard.bulk, Product=Goods)
    monkeypatch.setitem(sys.modules, "shop", shop)
    scope: dict[str, Any] = {"__name__": "shop"}
    exec(next(one for one in blocks if "csv" in one), scope)  # noqa: S102  (our own page)
    prices = tmp_path / "prices.csv"
    prices.write_text("id,price\n1,2.50\nnone,3.50\n2,4.50\n")
    handle = yard.bulk.submit(scope["ImportPrices"](path=str(prices)))
    yard.settle(handle)
    assert handle.status() is RunStatus.PARTIAL
    assert [one.key for one in handle.errors()] == ["[2]"]
