"""The signal as CloudWatch metrics, for AWS' own target tracking.

Zeros, too: a metric that goes missing is INSUFFICIENT_DATA, and then nothing is scaled at all.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from breakbulk.autoscale.aws import client, refusals
from breakbulk.autoscale.provider import Node
from breakbulk.domain.backlog import QueueBacklog

NAMESPACE = "Breakbulk"


def metrics_of(signal: QueueBacklog) -> list[dict[str, Any]]:
    """What is published of one queue."""
    values: tuple[tuple[str, float, str], ...] = (
        # Of the name that target tracking takes: it falls when there are more slots.
        ("BacklogSecondsPerSlot", signal.seconds_a_slot, "Seconds"),
        ("BacklogSeconds", signal.backlog_seconds, "Seconds"),
        ("OldestWaitingSeconds", signal.oldest_waiting_seconds, "Seconds"),
        ("RunnableChunks", signal.runnable_chunks, "Count"),
        ("InflightChunks", signal.inflight_chunks, "Count"),
        ("DesiredSlots", signal.desired_slots, "Count"),
        ("Slots", signal.slots, "Count"),
    )
    dimensions = [{"Name": "Queue", "Value": signal.queue}]
    return [
        {"MetricName": name, "Dimensions": dimensions, "Value": float(value), "Unit": unit}
        for name, value, unit in values
    ]


class Metrics:
    """Publishes the signal.

    Raises:
        ConfigurationError: boto3 is not installed, or there is no region.
    """

    def __init__(self, *, region: str | None = None, namespace: str = NAMESPACE) -> None:
        self._client = client("cloudwatch", region)
        self._namespace = namespace

    def publish(self, signal: Sequence[QueueBacklog]) -> None:
        """Publish what is seen now.

        Raises:
            ProviderRefused: CloudWatch does not take it.
        """
        with refusals("CloudWatch"):
            for one in signal:
                self._client.put_metric_data(Namespace=self._namespace, MetricData=metrics_of(one))


class Published:
    """No nodes at all: the signal is published, and AWS scales by it.

    Args:
        group: tells this publisher from others: of several, one at a time publishes.
    """

    scales = False
    replaces = True

    def __init__(self, metrics: Metrics, *, group: str) -> None:
        self._metrics = metrics
        self.name = group

    def nodes(self) -> list[Node]:
        """None that we know of."""
        return []

    def size(self) -> int:
        """None."""
        return 0

    def grow(self, size: int) -> int:  # noqa: ARG002  (of the protocol)
        """Nothing: AWS does it."""
        return 0

    def forgo(self, size: int) -> None:
        """Nothing, likewise."""

    def shrink(self, nodes: Sequence[Node]) -> None:
        """Nothing, likewise."""

    def tend(
        self,
        busy: Collection[Node],  # noqa: ARG002  (of the protocol)
        signal: Sequence[QueueBacklog],
    ) -> None:
        """Publish."""
        self._metrics.publish(signal)
