"""Parameters reach every process as they were, and secrets are never shown."""

from __future__ import annotations

import enum
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest

from breakbulk import Masked
from breakbulk.errors import ParameterError
from breakbulk.jobs import parameters_hash
from tests.support.declared import with_parameter

_ROOT = Path(__file__).parents[2]


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Point:
    x: int
    y: float = 0.0


VALUES: list[tuple[Any, Any]] = [
    (int, -3),
    (int, 2**70),
    (float, 1.5),
    (float, 3),
    (Decimal, Decimal("1.10")),
    (Decimal, Decimal("123456789012345678901234567890.000000000000000001")),
    (str, "Grö\x00ße \ud800"),
    (bool, True),
    (datetime, datetime(2026, 2, 3, 4, 5, 6, 789, tzinfo=UTC)),
    (datetime, datetime(2026, 2, 3, 4, 5)),  # noqa: DTZ001
    (date, date(2026, 2, 3)),
    (time, time(4, 5)),
    (timedelta, timedelta(days=2, microseconds=1)),
    (UUID, UUID(int=7)),
    (Colour, Colour.BLUE),
    (Literal["up", "down"], "down"),
    (bytes, b"\x00\xff"),
    (list[int], [1, 2]),
    (tuple[int, str], (1, "a")),
    (frozenset[str], frozenset({"a", "b"})),
    (dict[str, list[int]], {"a": [1]}),
    (dict[int, str], {1: "a"}),
    (dict[date, int], {date(2026, 1, 1): 1}),
    (Point, Point(1, 2.5)),
    (int | str | None, None),
    (Annotated[str, Masked], "secret"),
]


def _ids() -> list[str]:
    # Not what a set looks like, for that differs from process to process.
    return [f"{n} {hint}" for n, (hint, _value) in enumerate(VALUES)]


@pytest.mark.parametrize(("hint", "value"), VALUES, ids=_ids())
def test_a_parameter_reaches_another_process_as_it_was(hint: Any, value: Any) -> None:
    spec = with_parameter(hint)
    stored = json.dumps(spec.dump(spec.cls(value=value)))
    again = spec.build(json.loads(stored))
    assert again.value == value
    # And again, because what is submitted anew must be the same run's parameters.
    assert json.dumps(spec.dump(again)) == stored


@pytest.mark.parametrize(
    ("hint", "value"),
    [
        (int, "5"),
        (int, 1.5),
        (int, True),
        (bool, 1),
        (float, "1.5"),
        (float, float("nan")),
        (float, float("inf")),
        (str, 5),
        (str, None),
        (datetime, date(2026, 1, 1)),
        (Colour, "green"),
        (list[int], ["a"]),
        (Point, {"y": 1}),
        (str, object()),
        (dict[str, Any], {"a": object()}),
    ],
)
def test_a_value_of_another_type_is_refused_at_submit(hint: Any, value: Any) -> None:
    spec = with_parameter(hint)
    with pytest.raises(ParameterError, match=r"The parameter 'value' of .*Job ") as caught:
        spec.dump(spec.cls(value=value))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("hint", "words", "value"),
    [
        (int, "5", 5),
        (float, "1.05", 1.05),
        (Decimal, "1.05", Decimal("1.05")),
        (bool, "true", True),
        (datetime, "2026-01-01T00:00:00Z", datetime(2026, 1, 1, tzinfo=UTC)),
        (Colour, "blue", Colour.BLUE),
        (int | None, "5", 5),
        (str, "5", "5"),
    ],
)
def test_a_command_line_gives_text(hint: Any, words: str, value: Any) -> None:
    built = with_parameter(hint).build({"value": words}, strict=False)
    assert built.value == value
    assert type(built.value) is type(value)


def test_unknown_and_missing_parameters_are_named() -> None:
    spec = with_parameter(int)
    with pytest.raises(ParameterError, match=r"has no parameter 'rat'; it has: value\."):
        spec.build({"rat": 1, "value": 1})
    with pytest.raises(ParameterError, match=r"needs the parameter 'value' \(int\)"):
        spec.build({})
    assert with_parameter(int, default=4).build({}).value == 4


def test_equal_sets_are_equal_parameters_in_every_process() -> None:
    """Their order differs with the hash seed, and a run must not slip past ``overlap`` by it."""
    program = (
        "from breakbulk.jobs import parameters_hash\n"
        "from tests.support.declared import with_parameter\n"
        "words = frozenset(f'word {n}' for n in range(20))\n"
        "spec = with_parameter(frozenset[str])\n"
        "print(parameters_hash('job', spec.dump(spec.cls(value=words))))\n"
    )
    hashes = {
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=_ROOT,
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in (1, 2)
    }
    assert len(hashes) == 1


def test_the_hash_tells_jobs_and_values_apart_but_not_their_order() -> None:
    same = parameters_hash("job", {"a": 1, "b": 2})
    assert parameters_hash("job", {"b": 2, "a": 1}) == same
    others: list[tuple[str, dict[str, Any]]] = [
        ("job", {"a": 1, "b": "2"}),
        ("job", {"a": 1}),
        ("other", {"a": 1, "b": 2}),
    ]
    assert all(parameters_hash(name, values) != same for name, values in others)


# Secrets

SECRETS: list[tuple[Any, Any]] = [
    (Annotated[Literal["up"], Masked], "hush-hush"),
    (Annotated[Colour, Masked], "hush-hush"),
    (Annotated[int, Masked], "hush-hush"),
    (Annotated[dict[str, int], Masked()], {"hush-hush": "hush-hush"}),
    (Annotated[UUID, Masked], "hush-hush"),
    (Annotated[datetime, Masked], "hush-hush"),
]


@pytest.mark.parametrize(("hint", "value"), SECRETS)
def test_a_secret_is_never_shown(hint: Any, value: Any) -> None:
    spec = with_parameter(hint)
    job = spec.cls(value=value)
    shown = [repr(job), str(job), str(spec.shown({"value": value}))]
    for act in (lambda: spec.dump(job), lambda: spec.build({"value": value})):
        with pytest.raises(ParameterError) as caught:
            act()
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__
        shown.append(str(caught.value))
    assert not [words for words in shown if "hush-hush" in words]
    assert "value=***" in repr(job)


def test_what_is_no_secret_is_shown() -> None:
    spec = with_parameter(str, default="x")
    assert repr(spec.cls(value="seen")).endswith("Job(value='seen')")
    assert spec.shown({"value": "seen", "of another version": 1}) == {
        "value": "seen",
        "of another version": 1,
    }
