"""An Auto Scaling group and CloudWatch: the real boto3, against moto's server, offline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import boto3
import pytest
from sqlalchemy import update

from breakbulk.autoscale import Controller
from breakbulk.autoscale.asg import Instances
from breakbulk.autoscale.cloudwatch import Metrics, Published
from breakbulk.domain.scaling import Limits
from breakbulk.errors import ConfigurationError, ProviderRefused
from tests.support.cloud import described, published

if TYPE_CHECKING:
    from tests.support.yard import Yard

pytestmark = pytest.mark.usefixtures("aws")
LIMITS = Limits(minimum=1, maximum=8, out_cooldown=0, in_cooldown=0, start_seconds=0)


def host_of(instance: str) -> str:
    """What a machine calls itself, without the domain."""
    (found,) = boto3.client("ec2").describe_instances(InstanceIds=[instance])["Reservations"]
    name: str = found["Instances"][0]["PrivateDnsName"]
    return name.partition(".")[0]


def at_work_on(yard: Yard, instance: str) -> None:
    """Let a lane be at work there, on a run that needs no more."""
    handle = yard.submit(yard.job(max_lanes=1))
    crew = yard.crew()
    yard.lane(handle, crew=crew)
    workers = yard.ledger.database.schema.workers
    with yard.transaction() as connection:
        mine = workers.c.id == crew.process.worker_id
        connection.execute(update(workers).where(mine).values(host=host_of(instance)))


def turn(yard: Yard, group: str, limits: Limits = LIMITS) -> None:
    provider = Instances(group, metrics=Metrics())
    assert Controller(yard.bulk, provider, limits, queues=["celery"]).turn().leads
    yard.bulk.scaling.resign(provider.name, yard_holder(yard))


def yard_holder(yard: Yard) -> Any:
    (row,) = yard.rows_of("scalers")
    return row["holder"]


@pytest.mark.thorough
def test_nodes_are_the_groups_instances(group: str) -> None:
    nodes = Instances(group).nodes()
    instances = [one["InstanceId"] for one in described(group)["Instances"]]
    assert [node.id for node in nodes] == instances
    assert [node.host.partition(".")[0] for node in nodes] == [host_of(one) for one in instances]


def test_it_grows_by_the_desired_capacity(sqlite_yard: Yard, group: str) -> None:
    turn(sqlite_yard, group, Limits(minimum=5, maximum=8))
    assert described(group)["DesiredCapacity"] == 5
    assert len(described(group)["Instances"]) == 5


@pytest.mark.thorough
def test_asking_twice_does_not_ask_for_twice_as_many(group: str) -> None:
    provider = Instances(group)
    provider.grow(4)
    provider.grow(4)
    assert provider.size() == 4


def test_it_shrinks_by_who_has_nothing_to_do(sqlite_yard: Yard, group: str) -> None:
    instances = [one["InstanceId"] for one in described(group)["Instances"]]
    at_work_on(sqlite_yard, instances[-1])
    turn(sqlite_yard, group)
    after = described(group)
    assert [one["InstanceId"] for one in after["Instances"]] == instances[-1:]
    assert after["DesiredCapacity"] == 1


def test_what_the_group_has_not_started_yet_is_forgone_first(sqlite_yard: Yard, group: str) -> None:
    """It shows two of the eight that it was asked for; moto itself has all at once."""
    boto3.client("autoscaling").set_desired_capacity(AutoScalingGroupName=group, DesiredCapacity=8)
    instances = [one["InstanceId"] for one in described(group)["Instances"]]
    coming, busy = instances[:6], instances[6]
    at_work_on(sqlite_yard, busy)

    def hide(parsed: dict[str, Any], **_: object) -> None:
        for one in parsed.get("AutoScalingGroups", ()):
            one["Instances"] = [
                node for node in one["Instances"] if node["InstanceId"] not in coming
            ]

    events = boto3.DEFAULT_SESSION.events
    events.register("after-call.auto-scaling.DescribeAutoScalingGroups", hide)
    turn(sqlite_yard, group)
    events.unregister("after-call.auto-scaling.DescribeAutoScalingGroups", hide)
    after = described(group)
    assert [one["InstanceId"] for one in after["Instances"]] == [busy]
    assert after["DesiredCapacity"] == 1


def test_who_is_at_work_is_protected_and_only_as_long(sqlite_yard: Yard, group: str) -> None:
    yard = sqlite_yard
    instances = [one["InstanceId"] for one in described(group)["Instances"]]
    at_work_on(yard, instances[0])
    both = Limits(minimum=2, maximum=8)
    turn(yard, group, both)

    def protected() -> list[str]:
        found = described(group)["Instances"]
        return [one["InstanceId"] for one in found if one["ProtectedFromScaleIn"]]

    assert protected() == instances[:1]
    with yard.transaction() as connection:
        connection.execute(yard.ledger.database.schema.lanes.delete())
    turn(yard, group, both)
    assert protected() == []


def test_the_signal_is_published_zeros_included(sqlite_yard: Yard) -> None:
    yard = sqlite_yard
    controller = Controller(
        yard.bulk,
        Published(Metrics(namespace="Shop"), group="cloudwatch"),
        LIMITS,
        queues=["celery", "idle"],
    )
    yard.crew(slots=2)
    yard.submit(yard.job())
    assert controller.turn().leads
    assert published("BacklogSeconds", namespace="Shop") == [3.0]
    assert published("BacklogSecondsPerSlot", namespace="Shop") == [1.5]
    assert published("RunnableChunks", namespace="Shop") == [3.0]
    assert published("DesiredSlots", namespace="Shop") == [1.0]
    assert published("BacklogSecondsPerSlot", namespace="Shop", queue="idle") == [0.0]


def test_limits_that_the_group_does_not_have_are_refused(group: str) -> None:
    provider = Instances(group)
    provider.check(LIMITS)
    for wrong in (Limits(minimum=0, maximum=8), Limits(minimum=1, maximum=9)):
        with pytest.raises(ConfigurationError, match="allows 1 to 8 instances"):
            provider.check(wrong)


def test_a_group_that_is_not_there_is_told_in_one_sentence() -> None:
    with pytest.raises(ConfigurationError, match="no Auto Scaling group 'none'"):
        Instances("none")


def test_what_aws_refuses_is_told_in_one_sentence(group: str) -> None:
    provider = Instances(group)
    with pytest.raises(ProviderRefused, match=r"^EC2 refuses: .*does not exist\.$"):
        provider._learn_hosts(["i-0123456789abcdef0"])


def test_aws_that_is_not_there_is_told_in_one_sentence(
    group: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    boto3.setup_default_session()
    with pytest.raises(ProviderRefused, match="refuses: Could not connect"):
        Instances(group)


def test_no_region_is_told_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    boto3.setup_default_session()
    with pytest.raises(ConfigurationError, match="give --region"):
        Metrics()
