"""``breakbulk prune``: asks before it begins, and says what became of each run."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from click.testing import Result

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Shop

Refused = Callable[[Result, int], str]


@pytest.fixture
def pruned(shop: Shop) -> Shop:
    """A shop with a run that has ended and one that goes on."""
    shop.open()
    shop("run", "reprice")
    shop("cancel", "1")
    shop("run", "reprice")
    return shop


def test_old_runs_are_pruned(pruned: Shop) -> None:
    assert pruned("prune", "--older-than", "1h").stdout == (
        "No run that is like this ended that long ago.\n"
    )
    assert pruned("prune", "--older-than", "0s", "--dry-run").stdout == (
        "Would prune 1 run with 0 chunks.\n"
    )
    told = pruned.json("prune", "--older-than", "0s", "--yes")
    assert told == {
        "dry_run": False,
        "runs": [{"run": 1, "job": "reprice", "chunks": 0, "kept": None}],
    }
    assert [run["id"] for run in pruned.json("runs")["runs"]] == [2]


def test_one_run_is_pruned(pruned: Shop, refused: Refused) -> None:
    assert pruned("prune", "1", "1", "--yes").stdout == "Pruned 1 run with 0 chunks.\n"
    assert refused(pruned("prune", "1", "--yes"), 2) == (
        "There is no run 1; 'breakbulk runs' lists them."
    )
    assert refused(pruned("prune", "2", "--yes"), 1) == (
        "Run 2 is running: only what has ended can be pruned."
    )


def test_nothing_happens_unless_somebody_agrees(pruned: Shop) -> None:
    for arguments in (["1"], ["--older-than", "0s"]):
        result = pruned("prune", *arguments)
        assert result.exit_code == 2
        assert "Nobody is there to be asked: add --yes" in result.stderr
    assert len(pruned.json("runs")["runs"]) == 2


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "Give runs by their numbers, or --older-than for all old ones."),
        (["1", "--older-than", "1d"], "Give runs by their numbers, or --older-than"),
        (["1", "--dry-run"], "--job, --status and --dry-run go with --older-than."),
        (["--older-than", "soon"], "'soon' is no age, as in 30d, 12h, 90min or 45s."),
        (["--older-than", "-1d"], "'-1d' is no age"),
        (["--older-than", "99999999999999999999d"], "is no age"),
        (["--older-than", "1d", "--status", "running"], "'running' is not one of"),
    ],
)
def test_what_cannot_be_meant(pruned: Shop, arguments: list[str], sentence: str) -> None:
    result = pruned("prune", *arguments)
    assert result.exit_code == 2
    assert sentence in result.stderr
