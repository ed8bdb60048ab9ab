"""States of chunks are told apart by what is drawn, and not by colour alone."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

from breakbulk.domain.chunkmap import STATES

_STATIC = files("breakbulk.web") / "static"


@pytest.fixture(params=["breakbulk.css", "report.css"])
def style(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return (_STATIC / name).read_text(encoding="utf-8")


def pattern(style: str, state: str) -> str:
    """How a state is drawn, whatever the colours: a surface counts as such, ink as ink."""
    (drawn,) = re.findall(
        rf"^\.map \.c-{state}, \.legend \.c-{state} {{ (.*) }}$", style, re.MULTILINE
    )
    return re.sub(r"var\(--[\w-]+\)", "ink", drawn.replace("var(--bb-chip)", "paper"))


def test_no_two_states_differ_by_their_colour_alone(style: str) -> None:
    patterns = {state: pattern(style, state) for state in STATES}
    assert len(set(patterns.values())) == len(STATES), patterns


def test_they_are_drawn_where_colours_are_forced(style: str) -> None:
    (cells,) = re.findall(r"^\.map [ai], \.legend i {(.*)}$", style, re.MULTILINE)
    assert "forced-color-adjust: none" in cells


def test_a_picture_of_a_state_is_the_same_on_the_page_and_in_the_report() -> None:
    page, report = (
        (_STATIC / name).read_text(encoding="utf-8") for name in ("breakbulk.css", "report.css")
    )
    for state in STATES:
        assert pattern(page, state) == pattern(report, state)
