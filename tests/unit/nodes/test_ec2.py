"""Notices of EC2, asked of a stand-in for an instance's metadata."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from breakbulk.nodes.ec2 import Ec2Notice
from breakbulk.nodes.platform import PlatformError

if TYPE_CHECKING:
    from tests.support.platform import Platform

_SPOT, _GROUP = "spot/instance-action", "autoscaling/target-lifecycle-state"


@pytest.fixture
def hook(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> Ec2Notice:
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", f"{platform.url}/")
    return Ec2Notice()


def test_an_instance_that_stays_says_nothing(platform: Platform, hook: Ec2Notice) -> None:
    assert hook.leaving() is None
    platform.notices[_GROUP] = "InService"
    assert hook.leaving() is None
    tokens = [one for one in platform.asked if one.path == "/latest/api/token"]
    assert [one.method for one in tokens] == ["PUT"]
    assert tokens[0].headers["x-aws-ec2-metadata-token-ttl-seconds"] == "21600"


def test_a_spot_instance_that_is_to_go(platform: Platform, hook: Ec2Notice) -> None:
    platform.notices[_SPOT] = json.dumps({"action": "stop", "time": "2026-11-26T08:22:00Z"})
    assert hook.leaving() == "EC2 will stop this spot instance at 2026-11-26T08:22:00Z"


def test_an_instance_that_its_group_terminates(platform: Platform, hook: Ec2Notice) -> None:
    platform.notices[_GROUP] = "Terminated"
    assert hook.leaving() == "its autoscaling group terminates this instance"


def test_a_token_that_is_not_taken_any_more_is_replaced(
    platform: Platform, hook: Ec2Notice
) -> None:
    hook._token, hook._token_until = "of another boot", float("inf")
    with pytest.raises(PlatformError, match="401"):
        hook.leaving()
    assert hook.leaving() is None
