from __future__ import annotations

import json
from typing import Any

import pytest

from breakbulk.domain.progress import Progress
from breakbulk.domain.status import RunStatus


def progress(**given: Any) -> Progress:
    values: dict[str, Any] = {
        "status": RunStatus.RUNNING,
        "reason": None,
        "rows_done": 0,
        "rows_total": None,
        "total_is_exact": False,
        "chunks_done": 0,
        "chunks_carved": 0,
        "chunks_failed": 0,
        "chunks_waiting": 0,
        "lanes": 0,
        "rate": 0.0,
        "elapsed": 0.0,
    }
    return Progress(**{**values, **given})


@pytest.mark.parametrize(
    ("given", "fraction"),
    [
        ({"rows_total": 200, "rows_done": 50}, 0.25),
        ({"rows_total": 200, "rows_done": 50, "total_is_exact": True}, 0.25),
        ({"rows_total": 100, "rows_done": 100}, 0.99),
        ({"rows_total": 100, "rows_done": 300}, 0.99),
        ({"rows_total": 100, "rows_done": 100, "total_is_exact": True}, 1.0),
        ({"rows_total": 100, "rows_done": 101, "total_is_exact": True}, 1.0),
        ({}, None),
        ({"rows_total": 0, "total_is_exact": True}, 1.0),
        ({"rows_total": 0, "total_is_exact": True, "chunks_carved": 1}, None),
    ],
)
def test_a_share_is_never_more_than_is_known(given: dict[str, Any], fraction: float | None) -> None:
    assert progress(**given).fraction == fraction


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ({"rows_total": 200, "rows_done": 50, "rate": 10.0}, 15.0),
        ({"rows_total": 200, "rows_done": 250, "rate": 10.0}, 0.0),
        ({"rows_total": 200, "rows_done": 50, "rate": 0.0}, None),
        ({"rows_total": 200, "rows_done": 50, "rate": 10.0, "waits": "no worker is running"}, None),
        ({"rate": 10.0}, None),
        ({"rows_total": 200, "rows_done": 190, "rate": 10.0, "rate_is_steady": False}, None),
        ({"rows_total": 200, "rows_done": 190, "rate": 10.0, "total_is_outrun": True}, None),
    ],
)
def test_an_end_is_foretold_only_while_something_moves(
    given: dict[str, Any], seconds: float | None
) -> None:
    assert progress(**given).eta == seconds


def test_it_can_be_printed_as_json() -> None:
    shown = json.loads(json.dumps(progress(rows_total=3, rows_done=1, rate=0.5).as_dict()))
    assert shown["status"] == "running"
    assert shown["eta_seconds"] == 4.0


def test_the_end_lies_in_a_range_that_is_wider_for_an_estimate() -> None:
    known = progress(rows_total=200, rate=2.0, total_is_exact=True)
    assert known.eta_range == pytest.approx((85, 115))
    guessed = progress(rows_total=200, rate=2.0)
    assert guessed.eta_range == pytest.approx((70, 130))
    assert progress().eta_range is None
