"""Nodes that are instances of an EC2 Auto Scaling group.

More nodes by the group's desired capacity. Fewer by name: the group would choose for itself, and
not by who is at work. Whoever has a lane is protected from the group's own choices meanwhile, such
as putting its zones in balance. Whatever is stopped gets SIGTERM and ends after the chunk in hand;
what is cut off all the same costs one lease and loses nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from breakbulk.autoscale.aws import client, refusals
from breakbulk.autoscale.cloudwatch import Metrics
from breakbulk.autoscale.provider import Node
from breakbulk.domain.backlog import QueueBacklog
from breakbulk.domain.scaling import Limits
from breakbulk.errors import ConfigurationError

_ALIVE = {"Pending", "Pending:Wait", "Pending:Proceed", "InService"}
_IN_SERVICE = "InService"
#: As many instances one call may name.
_MOST_NAMED = 50


class Instances:
    """The instances of an Auto Scaling group.

    Args:
        group: the Auto Scaling group's name.
        metrics: where the signal is published besides; None for nowhere.

    Raises:
        ConfigurationError: boto3 is not installed, there is no region, or no such group.
        ProviderRefused: AWS does not say.
    """

    scales = True
    replaces = True

    def __init__(
        self, group: str, *, region: str | None = None, metrics: Metrics | None = None
    ) -> None:
        self._group = group
        self._scaling = client("autoscaling", region)
        self._machines = client("ec2", region)
        self._metrics = metrics
        #: What each instance calls itself, which does not change.
        self._hosts: dict[str, str] = {}
        self.name = f"asg {group}"
        self._described()

    def check(self, limits: Limits) -> None:
        """Make sure that the group can have so few and so many nodes.

        Raises:
            ConfigurationError: it cannot.
        """
        group = self._described()
        least, most = group["MinSize"], group["MaxSize"]
        if limits.minimum < least or limits.maximum > most:
            raise ConfigurationError(
                f"The Auto Scaling group {self._group} allows {least} to {most} instances: give"
                " --min and --max within that, or change the group."
            )

    def nodes(self) -> list[Node]:
        """Instances that are there or starting."""
        group = self._described()
        found = [one for one in group["Instances"] if one["LifecycleState"] in _ALIVE]
        ids = [one["InstanceId"] for one in found]
        self._learn_hosts(ids)
        return [Node(one, self._hosts.get(one, one)) for one in ids]

    def size(self) -> int:
        """The group's desired capacity: it may have asked for instances that do not show yet."""
        return int(self._described()["DesiredCapacity"])

    def grow(self, size: int) -> int:
        """Have the group start what is missing; none of it is ours to miss."""
        self._want(size)
        return 0

    def forgo(self, size: int) -> None:
        """Have the group want no more than so many."""
        self._want(size)

    def shrink(self, nodes: Sequence[Node]) -> None:
        """Stop these, and do not replace them."""
        for node in nodes:
            with refusals("The Auto Scaling group"):
                self._scaling.terminate_instance_in_auto_scaling_group(
                    InstanceId=node.id, ShouldDecrementDesiredCapacity=True
                )

    def tend(self, busy: Collection[Node], signal: Sequence[QueueBacklog]) -> None:
        """Protect who is at work, and only those; publish the signal."""
        protected = {node.id for node in busy}
        change: dict[bool, list[str]] = {True: [], False: []}
        for one in self._described()["Instances"]:
            wanted = one["InstanceId"] in protected
            # Of an instance that comes or goes it cannot be said.
            if one["LifecycleState"] == _IN_SERVICE and one["ProtectedFromScaleIn"] != wanted:
                change[wanted].append(one["InstanceId"])
        for wanted, ids in change.items():
            for first in range(0, len(ids), _MOST_NAMED):
                with refusals("The Auto Scaling group"):
                    self._scaling.set_instance_protection(
                        AutoScalingGroupName=self._group,
                        InstanceIds=ids[first : first + _MOST_NAMED],
                        ProtectedFromScaleIn=wanted,
                    )
        if self._metrics is not None:
            self._metrics.publish(signal)

    def _want(self, size: int) -> None:
        with refusals("The Auto Scaling group"):
            self._scaling.set_desired_capacity(
                AutoScalingGroupName=self._group, DesiredCapacity=size, HonorCooldown=False
            )

    def _described(self) -> dict[str, Any]:
        with refusals("The Auto Scaling group"):
            answer = self._scaling.describe_auto_scaling_groups(AutoScalingGroupNames=[self._group])
        groups: list[dict[str, Any]] = answer["AutoScalingGroups"]
        if not groups:
            raise ConfigurationError(
                f"There is no Auto Scaling group {self._group!r} in this region and account."
            )
        return groups[0]

    def _learn_hosts(self, ids: Sequence[str]) -> None:
        unknown = [one for one in ids if one not in self._hosts]
        if not unknown:
            return
        with refusals("EC2"):
            pages = self._machines.get_paginator("describe_instances").paginate(InstanceIds=unknown)
            for page in pages:
                for reservation in page["Reservations"]:
                    for machine in reservation["Instances"]:
                        name = machine.get("PrivateDnsName") or machine["InstanceId"]
                        self._hosts[machine["InstanceId"]] = name
