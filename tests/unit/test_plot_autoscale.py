"""The picture in the how-to is that of the recorded run."""

from __future__ import annotations

import json
from xml.etree import ElementTree as ET

from docs import plot_autoscale

TURN = {"at": 0.0, "backlog_seconds": 4.0, "nodes": 1, "ready": 0, "rows_per_second": 0.0}


def test_it_is_up_to_date() -> None:
    record = plot_autoscale.RECORD.read_text(encoding="utf-8")
    picture = plot_autoscale.PICTURE.read_text(encoding="utf-8")
    assert plot_autoscale.drawn(record) == picture, "run: python -m docs.plot_autoscale"


def test_it_tells_of_a_run_that_grew_to_the_limit_and_shrank_back() -> None:
    turns = [json.loads(line) for line in plot_autoscale.RECORD.read_text("utf-8").splitlines()]
    nodes = [turn["nodes"] for turn in turns]
    assert (nodes[0], max(nodes), nodes[-1]) == (1, 4, 1)


def test_what_was_decided_holds_until_the_next_decision() -> None:
    turns = [TURN, {**TURN, "at": 10.0, "nodes": 3, "ready": 1, "rows_per_second": 9.0}]
    drawn = plot_autoscale.drawn("\n".join(map(json.dumps, [*turns, {"leads": False}])))
    paths = [one.get("d") for one in ET.fromstring(drawn).iter("{http://www.w3.org/2000/svg}path")]
    assert len(paths) == 4
    assert paths[1] is not None
    assert "H790.0 V168.0" in paths[1]
    assert "L" in (paths[0] or "")
