"""What Sentry is told, by its own SDK with a transport in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import sentry_sdk
from sentry_sdk.integrations.logging import LoggingIntegration
from sentry_sdk.transport import Transport

from tests.support.yard import failing, touch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sentry_sdk.envelope import Envelope

    from breakbulk import Chunk, FinishedRun
    from tests.support.yard import Goods, Yard


class Sent(Transport):
    """Keeps what would be sent."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[Any] = []

    def capture_envelope(self, envelope: Envelope) -> None:
        event = envelope.get_event()
        if event is not None:
            self.events.append(event)


@pytest.fixture
def sentry() -> Iterator[Sent]:
    transport = Sent()
    with sentry_sdk.isolation_scope(), sentry_sdk.new_scope():
        sentry_sdk.init(
            dsn="https://key@sentry.invalid/1",
            transport=transport,
            default_integrations=False,
            auto_enabling_integrations=False,
            integrations=[LoggingIntegration()],
        )
        yield transport
        sentry_sdk.flush()
        sentry_sdk.init(None)


def tags(event: dict[str, Any]) -> dict[str, str]:
    return {name.removeprefix("breakbulk."): value for name, value in event["tags"].items()}


def test_a_chunk_that_failed_for_good_is_one_event_with_its_place(yard: Yard, sentry: Sent) -> None:
    handle = yard.run(failing(9), max_retries=2)
    (event,) = sentry.events
    expected = {"run": str(handle.id), "job": handle.job, "chunk": "2", "attempt": "3", "lane": "0"}
    assert tags(event) == expected
    assert event["transaction"] == handle.job
    (raised,) = event["exception"]["values"]
    assert (raised["type"], raised["value"]) == ("Boom", "attempt 3")
    assert raised["stacktrace"]["frames"][-1]["function"] == "process"


def test_a_run_in_order_is_no_event(yard: Yard, sentry: Sent) -> None:
    yard.assert_proper(yard.run(failing(1)))
    assert sentry.events == []


def test_what_user_code_reports_itself_has_its_place(yard: Yard, sentry: Sent) -> None:
    def process(chunk: Chunk[Goods]) -> None:
        touch(chunk)
        if chunk.number == 3:
            sentry_sdk.capture_message("a price below zero")

    handle = yard.run(process)
    (event,) = sentry.events
    assert event["message"] == "a price below zero"
    assert tags(event)["chunk"] == "3"
    assert event["transaction"] == handle.job


def test_a_callback_that_failed_for_good_is_one_event(yard: Yard, sentry: Sent) -> None:
    def finished(_run: FinishedRun) -> None:
        raise ValueError("no mail today")

    handle = yard.run(finished=finished, max_retries=1)
    yard.due()
    yard.settle(handle)
    (event,) = [one for one in sentry.events if one.get("exception")]
    assert event["exception"]["values"][0]["value"] == "no mail today"
    assert tags(event) == {"run": str(handle.id), "job": handle.job, "attempt": "2", "lane": "0"}
