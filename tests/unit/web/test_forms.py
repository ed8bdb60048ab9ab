from __future__ import annotations

from dataclasses import field
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Literal

import pytest

from breakbulk import Masked
from breakbulk.errors import ParameterError
from breakbulk.jobs import JobSpec, declare
from breakbulk.web.forms import Field, fields_of, size_of, values_of


class Season(StrEnum):
    """Words to choose from."""

    SPRING = "spring"
    AUTUMN = "autumn"


class Everything:
    """One parameter of each kind."""

    count: int
    rate: Decimal = Decimal("1.01")
    share: float = 0.5
    name: str = "n"
    dry: bool = True
    day: date = date(2026, 3, 1)
    ids: list[int] = field(default_factory=lambda: [1, 2])
    key: Annotated[str, Masked] = "hush"
    maybe: int | None = None
    until: date | None = None
    flag: bool | None = None
    season: Season = Season.AUTUMN
    mode: Literal["fast", "safe"] | None = None

    def source(self) -> None: ...

    def process(self, chunk: object) -> None: ...


_specs: list[JobSpec] = []
declare(Everything, _specs.append, name="everything")


@pytest.fixture
def spec() -> JobSpec:
    return _specs[0]


def test_fields_are_made_from_types_and_defaults(spec: JobSpec) -> None:
    fields = {one.name: one for one in fields_of(spec)}
    assert fields["count"] == Field("count", "number", "int", required=True, value="")
    kinds = {name: (one.kind, one.value) for name, one in fields.items()}
    assert kinds == {
        "count": ("number", ""),
        "rate": ("decimal", "1.01"),
        "share": ("decimal", "0.5"),
        "name": ("text", "n"),
        "dry": ("checkbox", "on"),
        "day": ("date", "2026-03-01"),
        "ids": ("json", "[1, 2]"),
        # A secret is never shown, not even its default.
        "key": ("secret", ""),
        "maybe": ("number", ""),
        "until": ("date", ""),
        "flag": ("json", ""),
        "season": ("choice", "autumn"),
        "mode": ("choice", ""),
    }


def test_what_there_is_to_choose(spec: JobSpec) -> None:
    choices = {one.name: one.choices for one in fields_of(spec) if one.choices}
    assert choices == {"season": ("spring", "autumn"), "mode": ("", "fast", "safe")}
    made = spec.build(
        values_of(spec, {"p.count": "1", "p.season": "spring", "p.mode": "safe"}), strict=False
    )
    assert (made.season, made.mode) == (Season.SPRING, "safe")
    made = spec.build(values_of(spec, {"p.count": "1", "p.until": "", "p.mode": ""}), strict=False)
    assert (made.until, made.mode, made.season) == (None, None, Season.AUTUMN)


def test_what_was_typed_stays(spec: JobSpec) -> None:
    fields = {one.name: one.value for one in fields_of(spec, {"p.rate": "abc", "p.ids": "[3"})}
    assert (fields["rate"], fields["ids"], fields["dry"]) == ("abc", "[3", "")


def test_a_form_gives_a_job(spec: JobSpec) -> None:
    given = {"p.count": "3", "p.rate": "1.5", "p.ids": "[7]", "p.day": "2026-04-01", "p.maybe": "4"}
    made = spec.build(values_of(spec, given), strict=False)
    assert (made.count, made.rate, made.ids, made.day) == (3, Decimal("1.5"), [7], date(2026, 4, 1))
    assert made.maybe == 4
    assert made.dry is False, "a box without its tick"
    assert (made.name, made.key) == ("n", "hush"), "what is left empty is as declared"


def test_what_is_not_json_is_told(spec: JobSpec) -> None:
    with pytest.raises(ParameterError, match=r"'ids' of everything takes JSON, as in \[1, 2\]"):
        values_of(spec, {"p.ids": "[3"})


@pytest.mark.parametrize(
    ("given", "means"),
    [
        ({}, (None, None)),
        ({"chunk_size": " ", "chunk_seconds": ""}, (None, None)),
        ({"chunk_size": "250"}, (250, None)),
        ({"chunk_size": "auto", "chunk_seconds": "0.25"}, ("auto", 0.25)),
    ],
)
def test_a_form_says_how_large_chunks_are(
    given: dict[str, str], means: tuple[object, object]
) -> None:
    found = size_of(given)
    assert (found["chunk_size"], found["chunk_seconds"]) == means


@pytest.mark.parametrize("given", [{"chunk_size": "many"}, {"chunk_seconds": "soon"}])
def test_a_size_that_is_no_number_is_told(given: dict[str, str]) -> None:
    with pytest.raises(ParameterError, match="no number"):
        size_of(given)
