from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import pytest

from breakbulk.errors import ConfigurationError
from breakbulk.settings import Settings

_NUMBERS = [field.name for field in dataclasses.fields(Settings) if field.type != "str"]


@pytest.mark.parametrize("name", _NUMBERS)
@pytest.mark.parametrize("value", [-1, "5", None, True, float("nan")])
def test_what_is_no_number_from_zero_up_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=name):
        Settings(**{name: value})


@pytest.mark.parametrize(("name", "value"), [("slice_seconds", 0.5), ("lease_seconds", 1)])
def test_what_leaves_no_room_is_refused(name: str, value: float) -> None:
    with pytest.raises(ConfigurationError, match=f"{name} must be at least"):
        Settings(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["max_carve", "max_losses", "max_snoozes", "surplus_messages"])
def test_counts_are_whole(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name} must be a whole number"):
        Settings(**{name: 1.5})  # type: ignore[arg-type]


def test_a_carve_takes_at_least_one_chunk() -> None:
    with pytest.raises(ConfigurationError, match="max_carve must be at least 1"):
        Settings(max_carve=0)


def test_every_knob_says_why() -> None:
    documented = inspect.getdoc(Settings) or ""
    for field in dataclasses.fields(Settings):
        assert f"\n    {field.name}: " in documented


def test_the_defaults_fit_together() -> None:
    settings = Settings()
    assert settings.steward_seconds < settings.lease_seconds / 3
    assert settings.carve_seconds <= settings.slice_seconds
    assert settings.tally_fold_seconds > settings.lease_seconds


@pytest.mark.parametrize("value", [None, 5, "10.0.0.1/8", "10.0.0.0/99", "a.example nonsense/x"])
def test_what_names_no_network_is_refused(value: Any) -> None:
    with pytest.raises(ConfigurationError, match="webhook_allow"):
        Settings(webhook_allow=value)


def test_hosts_and_networks_may_be_named() -> None:
    assert Settings(webhook_allow="hooks.internal, 10.1.0.0/16 ::1").webhook_allow
