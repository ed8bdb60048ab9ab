"""What came of the peers, as a page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from bench.peers import page
from bench.peers.verdict import verdicts
from bench.spread import repetitions

_RESULTS = Path(__file__).parents[3] / "bench" / "results" / "peers.json"
_FIGURES = {
    "submit": 0.1,
    "workers": 2.0,
    "database": 1.0,
    "broker": 0.5,
    "submitter": 50.0,
    "messages": 1.0,
    "wrong": "",
}


def _run(contestant: str, number: int, seconds: float | None, wrong: str = "") -> dict[str, Any]:
    run = {"contestant": contestant, "function": "score", "chunks": 10, "round": number}
    figures = dict.fromkeys(_FIGURES) if seconds is None else _FIGURES
    return {**run, **figures, "seconds": seconds, "wrong": wrong}


def _contestant(name: str) -> dict[str, Any]:
    about = {"title": f"**{name}**", "module": f"bench.{name}", "settings": {"knob": 1}}
    return {"name": name, **about, "why": ["knob: a page"], "end": "a call", "durable": "nothing"}


@pytest.fixture
def results() -> dict[str, Any]:
    """Three contestants, one of which is wrong."""
    seconds = {"loop": [2.0, 4.0, 3.0], "breakbulk": [4.0, 4.0, 6.0]}
    return {
        "date": "2026-11-26",
        "command": "python -m bench peers",
        "minutes": 3,
        "seed": 1,
        "machine": {
            "cores": 2,
            "processor": "one",
            "memory": "1 GB",
            "system": "Linux",
            "load_before": 0.1,
        },
        "versions": {"Python": "3.11"},
        "job": {"rows": 5000, "chunk_size": 500, "workers": 2},
        "contestants": [_contestant(name) for name in ("loop", "breakbulk", "rq")],
        "events": [{"function": "score", "chunks": 10}],
        "runs": [
            *(
                _run(name, number, one)
                for name, values in seconds.items()
                for number, one in enumerate(values, 1)
            ),
            _run("rq", 1, None, "500 rows missed"),
        ],
    }


def test_a_ratio_is_that_of_the_same_round(results: dict[str, Any]) -> None:
    text = page.markdown(results, "peers")
    (ours,) = (line for line in text.splitlines() if line.startswith("| **breakbulk**"))
    # 4/2, 4/4, 6/3; not the medians 4 and 3.
    assert "| 2 [1, 2] | 1 |" in ours
    assert "| 4 s | 4 to 6 | 3 |" in ours


def test_who_was_wrong_has_no_time_and_comes_last(results: dict[str, Any]) -> None:
    rows = [line for line in page.markdown(results, "peers").splitlines() if line[:3] == "| *"]
    assert [row.split("**")[1] for row in rows] == ["loop", "breakbulk", "rq"]
    assert "**500 rows missed**" in rows[-1]
    assert " s |" not in rows[-1]


def _with(results: dict[str, Any], name: str, *seconds: float | None) -> dict[str, Any]:
    """The same, and one more contestant."""
    runs = [_run(name, number, one) for number, one in enumerate(seconds, 1)]
    contestants = [*results["contestants"], _contestant(name)]
    return {**results, "contestants": contestants, "runs": [*results["runs"], *runs]}


def test_the_chord_and_the_quickest_peer_are_what_is_to_be_outdone(results: dict[str, Any]) -> None:
    """Ours took 4, 4 and 6 s."""
    results = _with(_with(results, "chord", 8.0, 6.4, 9.0), "huey", 4.2, 4.4, 5.4)
    told = {one["what"]: one for one in verdicts(results)}
    chord, nearest = told["Celery's chord / Breakbulk"], told["the quickest peer / Breakbulk"]
    assert (chord["median"], chord["limit"], chord["met"]) == (1.6, 1.5, True)
    assert (nearest["contestant"], nearest["limit"], nearest["met"]) == ("huey", 1.0, True)
    text = page.markdown(results, "peers")
    assert "* Celery's chord / Breakbulk (chord): 1.6 [1.5, 2], to reach 1.5: met" in text
    assert "* the quickest peer / Breakbulk (huey): 1.05 [0.9, 1.1], to reach 1: met" in text


def test_what_was_missed_or_run_only_once_says_so(results: dict[str, Any]) -> None:
    text = page.markdown(_with(results, "chord", 5.0), "peers")
    assert "* Celery's chord / Breakbulk (chord, once): 1.25, to reach 1.5: **missed**" in text
    assert "* the quickest peer / Breakbulk (chord, once): 1.25, to reach 1: met" in text


def test_nothing_is_said_of_those_who_were_not_there(results: dict[str, Any]) -> None:
    """The loop is no peer, and who was wrong has no time."""
    assert verdicts(results) == []
    assert "to reach" not in page.markdown(results, "peers")


def test_each_event_has_its_picture(results: dict[str, Any]) -> None:
    ((name, picture),) = page.pictures(results, "peers").items()
    assert f"({name})" in page.markdown(results, "peers")
    assert [one.text for one in ET.fromstring(picture).iter() if one.text == "no figure"]


@pytest.mark.parametrize(("seconds", "times"), [(29.9, 5), (30.0, 3), (89.9, 3), (90.0, 1)])
def test_what_takes_long_is_measured_less_often(seconds: float, times: int) -> None:
    assert repetitions(seconds) == times


@pytest.mark.skipif(not _RESULTS.exists(), reason="the peers have not been measured")
def test_the_page_says_what_was_measured() -> None:
    results = json.loads(_RESULTS.read_text("utf-8"))
    assert _RESULTS.with_suffix(".md").read_text("utf-8") == page.markdown(results, "peers")
    for name, picture in page.pictures(results, "peers").items():
        assert _RESULTS.with_name(name).read_text("utf-8") == picture
