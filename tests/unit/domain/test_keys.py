from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakbulk.domain.keys import Key, decode_key, encode_key
from breakbulk.errors import SourceError

# Which of two equal times on a clock is meant: a question no database column asks.
naive = st.datetimes().map(lambda moment: moment.replace(fold=0))
moments = naive.map(lambda moment: moment.replace(tzinfo=UTC))
times = st.times().map(lambda moment: moment.replace(fold=0))
values = st.one_of(
    st.integers(),
    st.text(),
    st.booleans(),
    st.floats(allow_nan=False),
    st.decimals(allow_nan=False),
    st.binary(),
    st.uuids(),
    naive,
    moments,
    st.dates(),
    times,
)
keys = st.lists(values, min_size=1, max_size=4).map(tuple)


@given(keys)
def test_a_key_comes_back_as_it_was(key: Key) -> None:
    read = decode_key(encode_key(key))

    assert read == key
    assert [type(value) for value in read] == [type(value) for value in key]
    # Equal numbers may differ: 1.10 and 1.1, 0.0 and -0.0.
    assert repr(read) == repr(key)


@given(keys)
def test_a_key_has_one_text(key: Key) -> None:
    assert encode_key(decode_key(encode_key(key))) == encode_key(key)


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ((5,), "[5]"),
        (("abc", -3), '["abc",-3]'),
        (("Größe",), '["Größe"]'),
        ((True, 1, 1.0), "[true,1,1.0]"),
        ((2**80,), "[1208925819614629174706176]"),
        ((Decimal("1.10"),), '[{"decimal":"1.10"}]'),
        ((UUID(int=5),), '[{"uuid":"00000000-0000-0000-0000-000000000005"}]'),
        ((b"\x00\xff",), '[{"bytes":"00ff"}]'),
        ((datetime(2024, 1, 2, 3, tzinfo=UTC),), '[{"datetime":"2024-01-02T03:00:00+00:00"}]'),
        ((float("-inf"),), '[{"float":"-inf"}]'),
    ],
)
def test_the_text_is_readable(key: Key, text: str) -> None:
    assert encode_key(key) == text
    assert decode_key(text) == key


def test_not_a_number_comes_back() -> None:
    number, decimal = decode_key(encode_key((math.nan, Decimal("NaN"))))

    assert isinstance(number, float)
    assert isinstance(decimal, Decimal)
    assert math.isnan(number)
    assert decimal.is_nan()


def test_one_moment_has_one_text_in_every_zone() -> None:
    moment = datetime(2024, 10, 27, 1, 30, tzinfo=UTC)
    zones = (UTC, ZoneInfo("Europe/Berlin"), timezone(timedelta(hours=5, minutes=30)))

    assert len({encode_key((moment.astimezone(zone),)) for zone in zones}) == 1


class Colour(Enum):
    RED = 1


@pytest.mark.parametrize("value", [None, 1j, Fraction(1, 2), Colour.RED, [1], {"uuid": "x"}])
def test_other_types_are_refused(value: object) -> None:
    with pytest.raises(SourceError, match="cannot be part of a key"):
        encode_key((value,))  # type: ignore[arg-type]


def test_broken_text_is_refused() -> None:
    with pytest.raises(SourceError, match="not valid text"):
        encode_key(("\ud800",))


@pytest.mark.parametrize(
    "text",
    ["", "5", "{}", "[", "[null]", '[{"uuid":"5"}]', '[{"x":"5"}]', '[{"decimal":5}]', "[{}]"],
)
def test_text_that_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(SourceError, match="is not a key"):
        decode_key(text)
