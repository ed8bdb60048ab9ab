"""AWS as moto's server plays it, offline: ask for `aws`, or for a `group` in it."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.request import Request, urlopen

import boto3
import pytest
from moto.server import ThreadedMotoServer

if TYPE_CHECKING:
    from collections.abc import Iterator

REGION = "eu-central-1"
IMAGE = "ami-12c6146b"  # which moto knows


@pytest.fixture(scope="package")
def server() -> Iterator[str]:
    """Where moto's server listens."""
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def aws(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let boto3 talk to it, as whoever has set it up by the environment would.

    Nothing is in it that another test has left there.
    """
    with urlopen(Request(f"{server}/moto-api/reset", method="POST")):  # noqa: S310  (ours)
        pass
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    boto3.setup_default_session()


@pytest.fixture
def group(aws: None) -> str:
    """An Auto Scaling group of two instances, in an account with nothing else."""
    scaling = boto3.client("autoscaling")
    scaling.create_launch_configuration(
        LaunchConfigurationName="worker", ImageId=IMAGE, InstanceType="t3.small"
    )
    scaling.create_auto_scaling_group(
        AutoScalingGroupName="workers",
        LaunchConfigurationName="worker",
        MinSize=1,
        MaxSize=8,
        DesiredCapacity=2,
        AvailabilityZones=[f"{REGION}a"],
    )
    return "workers"
