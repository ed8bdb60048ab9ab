"""SQS as moto's server plays it, for Celery by Kombu's own transport, offline."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import boto3
from moto.server import ThreadedMotoServer

if TYPE_CHECKING:
    from collections.abc import Iterator

_REGION = "eu-central-1"
_KEY = "testing"


class Sqs:
    """One server, and what an operator sees of a queue.

    Args:
        address: host and port.
        visibility: seconds for which a message that somebody has received is hidden.
    """

    def __init__(self, address: str, visibility: int) -> None:
        self.url = f"sqs://{_KEY}:{_KEY}@{address}"
        self.options = {
            "region": _REGION,
            "is_secure": False,
            "visibility_timeout": visibility,
            "wait_time_seconds": 1,
            "polling_interval": 0.1,
        }
        self._client = boto3.client(
            "sqs",
            region_name=_REGION,
            endpoint_url=f"http://{address}",
            aws_access_key_id=_KEY,
            aws_secret_access_key=_KEY,
        )

    def steal(self, queue: str) -> int:
        """Receive what is there, as a worker does that dies at once; how many messages."""
        with suppress(self._client.exceptions.QueueDoesNotExist):
            found = self._client.receive_message(QueueUrl=self._at(queue), MaxNumberOfMessages=10)
            return len(found.get("Messages", ()))
        return 0

    def waiting(self, queue: str) -> tuple[int, int]:
        """Messages that can be received, and those that are hidden."""
        names = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
        found: dict[str, Any] = self._client.get_queue_attributes(
            QueueUrl=self._at(queue), AttributeNames=list(names)
        )["Attributes"]
        visible, hidden = (int(found[name]) for name in names)
        return visible, hidden

    def _at(self, queue: str) -> str:
        url: str = self._client.get_queue_url(QueueName=queue)["QueueUrl"]
        return url


@contextmanager
def sqs(visibility: int) -> Iterator[Sqs]:
    """Run a server."""
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield Sqs(f"{host}:{port}", visibility)
    finally:
        server.stop()
