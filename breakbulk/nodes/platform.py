"""Asking the platform over HTTP: never through a proxy, never for long."""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.error import HTTPError
from urllib.request import HTTPSHandler, ProxyHandler, Request, build_opener

_SECONDS = 3.0
#: More than any answer that is of use.
_MOST_BYTES = 1 << 20


class PlatformError(Exception):
    """The platform has refused what was asked of it."""


class Answer(NamedTuple):
    """What the platform has said."""

    status: int
    body: bytes

    @property
    def text(self) -> str:
        """The body, for people."""
        return self.body.decode(errors="replace").strip()


def ask(
    method: str,
    url: str,
    *,
    body: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
    trust: ssl.SSLContext | None = None,
) -> Answer:
    """Send one request; an answer of any status is one.

    Args:
        body: sent as JSON.
        trust: of whom certificates are accepted.

    Raises:
        OSError: nobody answers.
    """
    data = None if body is None else json.dumps(body).encode()
    sent = {"Content-Type": "application/json", **(headers or {})} if data else dict(headers or {})
    request = Request(url, data=data, headers=sent, method=method)  # noqa: S310  (ours to choose)
    opener = build_opener(ProxyHandler({}), HTTPSHandler(context=trust))
    try:
        with opener.open(request, timeout=_SECONDS) as answer:
            return Answer(answer.status, answer.read(_MOST_BYTES))
    except HTTPError as refusal:
        with refusal:
            return Answer(refusal.code, refusal.read(_MOST_BYTES))
