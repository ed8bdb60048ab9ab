"""Who a machine is: the token that it sends."""

from __future__ import annotations

from pyramid.request import Request

from breakbulk.domain.token import PREFIX, Token
from breakbulk.web.access import Access


def is_here(request: Request) -> bool:
    """Whether it is the API that is asked, in whatever letters."""
    path: str = request.environ["PATH_INFO"]
    return path == "/api" or path.startswith("/api/")


def given(request: Request) -> str | None:
    """The token of ours that a machine brings; anybody else's is not our business.

    To the API, or to ``/metrics``: who scrapes is a machine, too.
    """
    if not is_here(request) and request.environ["PATH_INFO"] != "/metrics":
        return None
    scheme, _, text = request.headers.get("Authorization", "").partition(" ")
    text = text.strip()
    return text if scheme.lower() == "bearer" and text.startswith(PREFIX) else None


def access(request: Request, text: str) -> Access | None:
    """Whom that token lets in; None when it is not ours, or not any more."""
    token: Token | None = request.bulk.tokens.check(text)
    return None if token is None else Access(token.name, token.can)
