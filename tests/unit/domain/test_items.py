"""Items are written so that they come back as they were, or not at all."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakbulk.domain.items import ITEMS_FINGERPRINT, NO_ITEMS, chained, decode_item, encode_item
from breakbulk.errors import SourceError

_MOST = 10_000
_TEXT = st.text(st.characters(exclude_categories=["Cs"]))
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | _TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4),
    max_leaves=8,
).filter(lambda value: float("inf") not in flat(value) and float("-inf") not in flat(value))


def flat(value: Any) -> list[Any]:
    """All values in a value."""
    if isinstance(value, list):
        return [one for inner in value for one in flat(inner)]
    if isinstance(value, dict):
        return flat(list(value.values()))
    return [value]


@given(_JSON)
def test_a_json_value_comes_back_exactly(value: Any) -> None:
    text = encode_item(value, 1, 10**9)
    back = decode_item(text)
    assert json.dumps(back, sort_keys=True) == json.dumps(value, sort_keys=True)
    assert encode_item(back, 1, 10**9) == text


@given(st.sets(st.integers()) | st.binary() | st.complex_numbers() | st.tuples(st.integers()))
def test_what_is_no_json_value_is_refused_with_its_position(value: object) -> None:
    with pytest.raises(SourceError, match=r"^Item 17 .*\. An item is made of dicts"):
        encode_item([value], 17, _MOST)


def test_a_circle_is_refused() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(SourceError, match="Item 3 is not a JSON value"):
        encode_item(value, 3, _MOST)


def test_so_is_what_is_too_deep() -> None:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(SourceError, match="Item 3 is not a JSON value"):
        encode_item(value, 3, _MOST)


def test_a_text_of_another_class_is_a_text() -> None:
    class Colour(StrEnum):
        RED = "red"

    assert encode_item(Colour.RED, 1, _MOST) == '"red"'


@pytest.mark.parametrize(("value", "size"), [("x" * 98, 100), ("é" * 49, 100)])
def test_size_is_counted_in_bytes(value: str, size: int) -> None:
    encode_item(value, 1, size)
    with pytest.raises(
        SourceError, match=f"Item 1 has {size} bytes as JSON and may have {size - 1}"
    ):
        encode_item(value, 1, size - 1)


@given(st.lists(st.integers(0, 3)), st.lists(st.integers(0, 3)))
def test_the_hash_tells_whether_all_items_are_the_same(one: list[int], other: list[int]) -> None:
    hashes = []
    for values in (one, other):
        digest = NO_ITEMS
        for value in values:
            digest = chained(digest, encode_item(value, 1, _MOST))
        hashes.append(digest)
    assert (hashes[0] == hashes[1]) == (one == other)


def test_the_fingerprint_is_the_same_in_every_process() -> None:
    assert ITEMS_FINGERPRINT == ("2eb851e0d0e20fa3be40663a75b53722dbb7571a31270f095a6df6be4595a922")
