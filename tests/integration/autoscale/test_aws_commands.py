"""``breakbulk autoscale`` on AWS, as cron calls it: the real boto3, against moto's server."""

from __future__ import annotations

import json
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Protocol
from uuid import uuid4

import pytest
from click.testing import CliRunner

from breakbulk.cli import breakbulk
from tests.support.cloud import described, published

if TYPE_CHECKING:
    from click.testing import Result

    from tests.support.yard import Yard

pytestmark = pytest.mark.usefixtures("aws")
_ASG = ("--provider", "asg", "--group", "workers")


class Autoscale(Protocol):
    """Calls ``breakbulk autoscale … --once`` for the queue of the yard's jobs."""

    def __call__(self, *arguments: str) -> Result:
        """Call it."""


@pytest.fixture
def autoscale(sqlite_yard: Yard, monkeypatch: pytest.MonkeyPatch) -> Autoscale:
    """The command line, on the yard's own application."""
    module = ModuleType("yardshop")
    module.__spec__ = ModuleSpec("yardshop", None)
    module.bulk = sqlite_yard.bulk  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "yardshop", module)
    command = ["-A", "yardshop:bulk", "autoscale", "--once", "--queue", "celery"]

    def call(*arguments: str) -> Result:
        return CliRunner().invoke(breakbulk, [*command, *arguments], prog_name="breakbulk")

    return call


def test_a_group_is_scaled_and_the_signal_published(autoscale: Autoscale, group: str) -> None:
    told = autoscale(*_ASG, "--min", "5", "--max", "8")
    assert told.exit_code == 0, told.output
    assert told.stdout == "scaled out, 2 to 5: there are to be 5 to 8 nodes.\n"
    assert described(group)["DesiredCapacity"] == 5
    assert published("BacklogSecondsPerSlot", namespace="Breakbulk") == [0.0]
    again = json.loads(autoscale(*_ASG, "--min", "5", "--max", "8", "--json").stdout)
    assert (again["leads"], again["verb"], again["there"]) == (True, "kept", 5)


def test_a_dry_run_asks_aws_for_nothing(autoscale: Autoscale, group: str) -> None:
    told = autoscale(*_ASG, "--min", "5", "--max", "8", "--dry-run")
    assert told.stdout == "scaled out, 2 to 5: there are to be 5 to 8 nodes.\n"
    assert described(group)["DesiredCapacity"] == 2
    assert published("BacklogSecondsPerSlot", namespace="Breakbulk") == []


def test_while_another_controller_leads_nothing_is_done(
    autoscale: Autoscale, sqlite_yard: Yard, group: str
) -> None:
    other = uuid4()
    assert sqlite_yard.bulk.scaling.lead("asg workers", other, 60)
    told = autoscale(*_ASG, "--min", "5", "--max", "8")
    assert told.exit_code == 0, told.output
    assert told.stdout == "Another controller looks after this group: nothing was done.\n"
    assert described(group)["DesiredCapacity"] == 2
    sqlite_yard.bulk.scaling.resign("asg workers", other)
    autoscale(*_ASG, "--min", "5", "--max", "8")
    assert described(group)["DesiredCapacity"] == 5


def test_limits_that_the_group_does_not_have_are_told_in_one_sentence(
    autoscale: Autoscale, group: str
) -> None:
    told = autoscale(*_ASG, "--min", "0", "--max", "8")
    assert told.exit_code == 1
    assert told.stderr == (
        "Error: The Auto Scaling group workers allows 1 to 8 instances: give --min and --max within"
        " that, or change the group.\n"
    )
    assert described(group)["DesiredCapacity"] == 2


def test_the_signal_is_published_for_somebody_elses_scaling(
    autoscale: Autoscale, sqlite_yard: Yard
) -> None:
    sqlite_yard.crew(slots=2)
    sqlite_yard.submit(sqlite_yard.job())
    told = autoscale("--provider", "cloudwatch", "--namespace", "Shop", "--target", "1")
    assert told.exit_code == 0, told.output
    assert told.stdout == "celery: 3 s of work, 3 slots wanted, 2 there.\n"
    points = {
        name: published(name, namespace="Shop")
        for name in ("BacklogSeconds", "BacklogSecondsPerSlot", "RunnableChunks", "Slots")
    }
    assert points == {
        "BacklogSeconds": [3.0],
        "BacklogSecondsPerSlot": [1.5],
        "RunnableChunks": [3.0],
        "Slots": [2.0],
    }
    assert published("DesiredSlots", namespace="Shop") == [3.0], "by the target that was given"
    assert published("BacklogSeconds", namespace="Breakbulk") == []
