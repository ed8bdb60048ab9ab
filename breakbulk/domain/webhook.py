"""Endpoints, deliveries and their tries as values, and when a delivery is tried again."""

from __future__ import annotations

import base64
import random
import secrets
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from urllib.parse import urlsplit

#: Seconds to wait after each failed try, by the specification's table; then it is given up.
RETRY_TABLE: Final = (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
#: Up to so much longer, in parts of it, so that what failed together is not tried together.
_JITTER = 0.1
#: Nobody may ask us to wait longer. Seconds.
_LONGEST_WAIT = 86_400.0
#: How long an endpoint is left alone after its first failure, twice that after the next, and at
#: most so long: one that hangs takes little of the time there is for the others. Seconds.
_FIRST_REST, _LONGEST_REST = 5.0, 300.0
#: An endpoint that has failed for so long without one success is switched off. Seconds.
FAILS_AT_MOST: Final = 5 * 86_400.0
#: How long the secret before the last one signs, too. Seconds.
ROTATION: Final = 86_400.0
#: A link is tried again for so long, in seconds between tries: what fails is the broker.
_LINK_FIRST, _LINK_LONGEST, _LINK_TRIES = 5.0, 300.0, 2_000
_SECRET_BYTES = 32
_GONE = 410
_ASKS_TO_WAIT = (429, 503)


class DeliveryStatus(StrEnum):
    """Where a delivery stands."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Somebody outside who is told of runs. The secret is not part of it.

    Attributes:
        id: its number.
        url: where events are posted to.
        job: only of this job's runs; None for all.
        events: only these types; empty for all.
        enabled: whether anything is sent to it.
        reason: why it is not.
        failures: tries that have failed since the last that did not.
        failing_since: when the first of them was.
        rests_until: it is left alone until then.
        rotates_until: until then the secret before this one signs, too.
        created_at: when it was registered.
        created_by: by whom.
    """

    id: int
    url: str
    job: str | None
    events: tuple[str, ...]
    enabled: bool
    reason: str | None
    failures: int
    failing_since: datetime | None
    rests_until: datetime | None
    rotates_until: datetime | None
    created_at: datetime
    created_by: str | None

    @property
    def place(self) -> str:
        """Its host, without what may be secret in its URL."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return _as_dict(self)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event on its way to one receiver.

    Attributes:
        id: its number.
        event: the event's type.
        message_id: the event's ``webhook-id``, the same in every try and replay.
        run: the run it tells of.
        endpoint: where to; None: it is a link of the run, a Celery signature.
        status: ``waiting``, ``delivered`` or ``failed``.
        tries: how many there were.
        not_before: when the next one is due, while it waits.
        created_at: when it happened.
        ended_at: when it was delivered or given up.
    """

    id: int
    event: str
    message_id: str
    run: int
    endpoint: int | None
    status: DeliveryStatus
    tries: int
    not_before: datetime
    created_at: datetime
    ended_at: datetime | None

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return _as_dict(self)


@dataclass(frozen=True, slots=True)
class Event:
    """Something that somebody outside is told of.

    Attributes:
        type: ``run.submitted`` and the like.
        deliveries: to whom, in order; replays among them.
    """

    id: int
    type: str
    at: datetime
    deliveries: tuple[Delivery, ...]


@dataclass(frozen=True, slots=True)
class Try:
    """One try at a delivery.

    Attributes:
        at: when it ended.
        code: the answer's HTTP status; None: there was no answer, or a link was sent.
        milliseconds: how long it took.
        answer: the first bytes of the answer.
        error: what went wrong.
    """

    at: datetime
    code: int | None
    milliseconds: int
    answer: str | None
    error: str | None

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return _as_dict(self)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back from a try.

    Attributes:
        retry_after: seconds that the receiver asks us to wait.
    """

    milliseconds: int
    code: int | None = None
    text: str | None = None
    error: str | None = None
    retry_after: float | None = None

    @property
    def delivered(self) -> bool:
        """Whether it has arrived: 2xx, or a link that the broker has taken."""
        return self.error is None and (self.code is None or 200 <= self.code < 300)  # noqa: PLR2004  (2xx)

    @property
    def gone(self) -> bool:
        """Whether the receiver wants no more, ever."""
        return self.code == _GONE


def wait_after(tries: int, answer: Answer) -> float | None:
    """Seconds until the next try at an endpoint, after so many that failed; None: no more."""
    if answer.gone or tries > len(RETRY_TABLE):
        return None
    wait = RETRY_TABLE[tries - 1] * random.uniform(1, 1 + _JITTER)  # noqa: S311  (no secret)
    return max(wait, asked_wait(answer))


def asked_wait(answer: Answer) -> float:
    """Seconds that a receiver asks to be left alone, as far as it is listened to."""
    if answer.code not in _ASKS_TO_WAIT or answer.retry_after is None:
        return 0.0
    return min(max(answer.retry_after, 0.0), _LONGEST_WAIT)


def rest_after(failures: int, answer: Answer) -> float:
    """Seconds to leave an endpoint alone, after so many failed tries in a row."""
    doubled: float = min(_FIRST_REST * 2 ** min(failures - 1, 16), _LONGEST_REST)
    return max(doubled, asked_wait(answer))


def link_wait_after(tries: int) -> float | None:
    """Seconds until a link is tried again, after so many tries; None: no more."""
    if tries >= _LINK_TRIES:
        return None
    doubled: float = min(_LINK_FIRST * 2 ** min(tries - 1, 16), _LINK_LONGEST)
    return doubled


def new_secret() -> str:
    """A secret to sign with, in the specification's spelling."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def new_message_id() -> str:
    """What names a message, anywhere."""
    return f"msg_{secrets.token_hex(16)}"


def _as_dict(value: Any) -> dict[str, Any]:
    return {
        name: one.isoformat() if isinstance(one, datetime) else one
        for name, one in asdict(value).items()
    }
