"""Posting one message to one endpoint: signed, guarded, and over within seconds whatever happens.

No proxy of the environment is asked, no redirect is followed, no more than the first bytes of the
answer are read, and all of it together has one deadline: a receiver may also send its answer one
byte at a time.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from breakbulk.domain.webhook import Answer
from breakbulk.errors import ConfigurationError, EndpointRefused
from breakbulk.runner.guard import Guard, Target, target_of

if TYPE_CHECKING:
    from httpcore2 import NetworkBackend, NetworkStream

#: The specification recommends 15 to 30.
SECONDS = 15.0
#: One address of several must not use up all of that.
_CONNECT_SECONDS = 5.0
_ANSWER_BYTES = 2_000


def available() -> bool:
    """Whether what is needed to post is installed."""
    return all(find_spec(name) is not None for name in ("httpcore2", "standardwebhooks"))


def need() -> None:
    """Refuse to promise what cannot be kept.

    Raises:
        ConfigurationError: the extra is not installed.
    """
    if not available():
        raise ConfigurationError(
            "Webhooks need two more packages, here and on the workers:"
            " pip install 'breakbulk[webhooks]'."
        )


def post(
    guard: Guard,
    url: str,
    secrets: Sequence[str],
    *,
    message_id: str,
    now: datetime,
    payload: str,
    seconds: float = SECONDS,
) -> Answer:
    """Post a message; what came back, or what went wrong. It never raises.

    Args:
        secrets: to sign with, each for itself.
        now: what the receiver is told about when this try was made.
    """
    began = time.monotonic()

    def took() -> int:
        return round((time.monotonic() - began) * 1000)

    try:
        target = target_of(url)
        headers = _headers(secrets, message_id, now, payload)
        status, answered, text = _exchange(guard, target, headers, payload, began + seconds)
    except EndpointRefused as refused:
        return Answer(took(), error=str(refused))
    except Exception as error:  # noqa: BLE001  (whatever the other side does)
        return Answer(took(), error=_sentence(error, seconds))
    redirected = 300 <= status < 400  # noqa: PLR2004  (3xx)
    return Answer(
        took(),
        code=status,
        text=text,
        error="redirects are not followed" if redirected else None,
        retry_after=_retry_after(answered, now),
    )


def _headers(
    secrets: Sequence[str], message_id: str, now: datetime, payload: str
) -> list[tuple[str, str]]:
    from standardwebhooks import Webhook

    signed = [Webhook(one).sign(message_id, now.astimezone(UTC), payload) for one in secrets]
    return [
        ("content-type", "application/json"),
        ("user-agent", "Breakbulk"),
        ("accept-encoding", "identity"),
        ("connection", "close"),
        ("webhook-id", message_id),
        ("webhook-timestamp", str(int(now.timestamp()))),
        ("webhook-signature", " ".join(signed)),
    ]


def _exchange(
    guard: Guard,
    target: Target,
    headers: list[tuple[str, str]],
    payload: str,
    until: float,
) -> tuple[int, dict[str, str], str]:
    import httpcore2

    url = httpcore2.URL(
        scheme=target.scheme, host=target.host, port=target.port, target=target.path
    )
    backend = _backend(guard, target, until)
    connection = httpcore2.HTTPConnection(url.origin, network_backend=backend)
    try:
        with connection.stream("POST", url, headers=headers, content=payload.encode()) as answer:
            text = _beginning(answer.iter_stream())
            answered = {
                name.decode("latin-1").lower(): value.decode("latin-1")
                for name, value in answer.headers
            }
            return answer.status, answered, text
    finally:
        connection.close()


def _beginning(parts: Iterable[bytes]) -> str:
    read = b""
    for part in parts:
        read += part
        if len(read) >= _ANSWER_BYTES:
            break
    return read[:_ANSWER_BYTES].decode("utf-8", "replace")


def _backend(guard: Guard, target: Target, until: float) -> NetworkBackend:
    import httpcore2

    def left() -> float:
        seconds = until - time.monotonic()
        if seconds <= 0:
            raise httpcore2.TimeoutException
        return seconds

    class Guarded(httpcore2.NetworkBackend):
        """Connects to addresses that the guard has seen, and to no others."""

        def connect_tcp(self, host: str, port: int, *_: Any, **__: Any) -> NetworkStream:  # noqa: ARG002
            # As numbers, so that nobody is asked a second time what the name means.
            *first, last = guard.addresses(target, left())
            connect = httpcore2.SyncBackend().connect_tcp
            for address in first:
                with suppress(httpcore2.ConnectError, httpcore2.ConnectTimeout):
                    return _bounded(connect(address, port, min(left(), _CONNECT_SECONDS)), left)
            return _bounded(connect(last, port, left()), left)

    return Guarded()


def _bounded(stream: NetworkStream, left: Callable[[], float]) -> NetworkStream:
    import httpcore2

    class Bounded(httpcore2.NetworkStream):
        """A stream that has one deadline for all that goes over it."""

        def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
            return stream.read(max_bytes, left())

        def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
            stream.write(buffer, left())

        def close(self) -> None:
            # Child processes that were forked meanwhile have the connection open, too.
            with suppress(OSError):
                stream.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
            stream.close()

        def start_tls(
            self,
            ssl_context: Any,
            server_hostname: str | None = None,
            timeout: float | None = None,  # noqa: ARG002
        ) -> NetworkStream:
            return _bounded(stream.start_tls(ssl_context, server_hostname, left()), left)

        def get_extra_info(self, info: str) -> Any:
            return stream.get_extra_info(info)

    return Bounded()


def _retry_after(headers: dict[str, str], now: datetime) -> float | None:
    """What a receiver asks for: seconds, or a date."""
    said = headers.get("retry-after", "").strip()
    if said.isdecimal() and said.isascii():
        return float(said)
    try:
        at = parsedate_to_datetime(said)
    except (ValueError, OverflowError):
        return None
    return (at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds()


def _sentence(error: Exception, seconds: float) -> str:
    import httpcore2

    if isinstance(error, httpcore2.TimeoutException):
        return f"no answer within {seconds:g} s"
    said = str(error).partition("\n")[0] or type(error).__name__
    if isinstance(error, httpcore2.ConnectError):
        return f"cannot connect: {said}"
    return f"{type(error).__name__}: {said}"
