"""What the how-to on moving from a chord prints, as it is printed there."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.integration.canvas.conftest import Team

_PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "move-from-a-celery-chord.md"
_BLOCKS = re.findall(r"```python\n(.*?)```", _PAGE.read_text("utf-8"), re.DOTALL)


@pytest.fixture
def scope(team: Team, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names of a script beside the shop's modules."""

    @team.task(name="shop.tasks.process_some_products")
    def process_some_products(start: int, end: int) -> int:
        return end - start

    @team.task(name="shop.tasks.process_finished")
    def process_finished(results: list[int]) -> int:
        return sum(results)

    shop, tasks, celery = (ModuleType(f"shop{name}") for name in ("", ".tasks", ".celery"))
    tasks.__dict__.update(
        process_some_products=process_some_products, process_finished=process_finished
    )
    celery.__dict__.update(app=team.app)
    for module in (shop, tasks, celery):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return {}


def run(beginning: str, scope: dict[str, Any]) -> None:
    """Run the one block that begins with these words."""
    (block,) = (one for one in _BLOCKS if one.startswith(beginning))
    exec(block, scope)  # noqa: S102  (our own page)


def test_the_handle_is_used_as_it_is_told(team: Team, scope: dict[str, Any]) -> None:
    run("from breakbulk.canvas import group\n", scope)
    team.settle(scope["handle"])
    run("from breakbulk.canvas import result\n", scope)
    handle = scope["handle"]
    assert handle.get() == [500] * 20
    assert handle.part(17).args == (8_000, 8_500)


def test_the_script_runs_with_its_import_changed(team: Team, scope: dict[str, Any]) -> None:
    run("from breakbulk.canvas import chain, group  # instead of", scope)
    (found,) = team.yard.bulk.runs()
    assert found.parameters["header"] == "shop.tasks.process_some_products"
    assert found.parameters["body"]["task"] == "shop.tasks.process_finished"
