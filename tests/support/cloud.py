"""What an operator sees of AWS in its own console."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import boto3


def described(group: str) -> dict[str, Any]:
    """An Auto Scaling group."""
    (found,) = boto3.client("autoscaling").describe_auto_scaling_groups(
        AutoScalingGroupNames=[group]
    )["AutoScalingGroups"]
    answer: dict[str, Any] = found
    return answer


def published(name: str, *, namespace: str, queue: str = "celery") -> list[float]:
    """What CloudWatch has of a metric, over the last hour."""
    now = datetime.now(UTC)
    points = boto3.client("cloudwatch").get_metric_statistics(
        Namespace=namespace,
        MetricName=name,
        Dimensions=[{"Name": "Queue", "Value": queue}],
        StartTime=now - timedelta(hours=1),
        EndTime=now + timedelta(hours=1),
        Period=60,
        Statistics=["Maximum"],
    )["Datapoints"]
    return [point["Maximum"] for point in points]
