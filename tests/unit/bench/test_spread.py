"""Intervals of medians, and pictures of them."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from bench.drawing import bars, lines
from bench.spread import interval, short, within


def test_an_interval_holds_the_median_and_is_the_same_each_time() -> None:
    values = [1.04, 1.01, 1.10, 0.98, 1.03, 1.02, 1.05, 1.00, 1.07]
    found = interval(values)
    assert found is not None
    low, high = found
    assert 0.98 <= low < 1.03 < high <= 1.10
    assert interval(values) == found


def test_an_interval_narrows_with_more_values() -> None:
    few, many = interval([1.0, 2.0, 3.0]), interval([1.0, 2.0, 2.0, 2.0, 3.0] * 8)
    assert few is not None
    assert many is not None
    assert few == (1.0, 3.0)
    assert many == (2.0, 2.0)


def test_too_few_values_have_none() -> None:
    assert interval([1.0, 2.0]) is None
    assert within([1.0, 2.0]) == ""
    assert within([1.0, 1.0, 1.0]) == "[1, 1]"


def test_three_digits_are_shown() -> None:
    assert [short(one) for one in (1.2345, 0.012345, 12_345.6)] == ["1.23", "0.0123", "12,346"]


def test_bars_are_as_long_as_their_medians() -> None:
    picture = ET.fromstring(bars("A < B", "s", [("half", [1.0, 1.0, 9.0]), ("most", [10.0])]))
    widths = [float(one.attrib["width"]) for one in picture.iter() if one.tag.endswith("rect")]
    assert [round(width / widths[1], 2) for width in widths] == [0.1, 1.0]


def test_lines_rise_where_their_values_do() -> None:
    points = [(2.0, 1.0), (4.0, 2.0), (256.0, 3.0)]
    picture = ET.fromstring(lines("rate", "lanes", "chunks/s", {"ours": points}, doubling=True))
    (path,) = (one for one in picture.iter() if one.tag.endswith("polyline"))
    places = [tuple(map(float, one.split(","))) for one in path.attrib["points"].split()]
    assert places == sorted(places)
    assert [y for _, y in places] == sorted((y for _, y in places), reverse=True)
