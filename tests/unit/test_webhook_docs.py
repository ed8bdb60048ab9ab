"""The page on webhooks: its example verifies what is really sent."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import WebhookVerificationError

from breakbulk.domain.address import Allowed
from breakbulk.domain.event import PING, EventType, payload_of
from breakbulk.domain.webhook import RETRY_TABLE, new_secret
from breakbulk.runner.guard import Guard
from breakbulk.runner.post import post
from tests.support.receiver import receiver

_PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "webhooks.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("event", "data", "said"),
    [
        (EventType.SUCCEEDED, {"run": 12}, "run 12: run.succeeded"),
        (EventType.QUARANTINED, {"run": 12, "quarantined": 3}, "run 12: rows.quarantined"),
        # Tells of no run: it is what the page sends first.
        (PING, {"endpoint": 1}, "it works"),
    ],
)
def test_the_receiver_on_the_page_verifies_what_is_sent(
    event: str, data: dict[str, Any], said: str
) -> None:
    (code,) = (
        one for one in re.findall(r"```python\n(.*?)```", _PAGE, re.DOTALL) if "def receive" in one
    )
    scope: dict[str, Any] = {}
    exec(code, scope)  # noqa: S102  (our own page)
    secret = new_secret()
    now = datetime.now(UTC)
    with receiver() as outside:
        answer = post(
            Guard(Allowed.parse("127.0.0.1")),
            outside.url,
            [secret],
            message_id="msg_1",
            now=now,
            payload=json.dumps(payload_of(event, now, data)),
        )
    assert answer.delivered
    (message,) = outside.received
    body = message.body.encode()
    assert scope["receive"](secret, message.headers, body) == said
    for wrong in ((new_secret(), body), (secret, body + b" ")):
        with pytest.raises(WebhookVerificationError):
            scope["receive"](wrong[0], message.headers, wrong[1])


def test_every_event_is_on_the_page() -> None:
    assert [one for one in (*EventType, PING) if f"`{one}`" not in _PAGE] == []


def test_the_table_on_the_page_is_the_one_that_is_kept_to() -> None:
    seconds = {"s": 1, "min": 60, "h": 3_600}
    (said,) = re.findall(r"sent at once and then after (.*?), with", " ".join(_PAGE.split()))
    found = [int(number) * seconds[unit] for number, unit in re.findall(r"(\d+) (\w+)", said)]
    assert tuple(found) == RETRY_TABLE
