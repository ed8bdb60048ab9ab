"""What goes wrong, as a page with one sentence and a way on."""

from __future__ import annotations

import logging
from typing import Any

from pyramid.httpexceptions import HTTPException, HTTPForbidden, HTTPNotFound
from pyramid.request import Request
from pyramid.view import exception_view_config, forbidden_view_config, notfound_view_config

from breakbulk.errors import (
    BreakbulkError,
    LedgerUnreachable,
    OverlapError,
    ParameterError,
    RunNotFound,
    SchemaError,
    StateError,
    UnknownJob,
    WebhookNotFound,
)
from breakbulk.web.access import LoginLink

log = logging.getLogger("breakbulk.web")

_STATUSES: tuple[tuple[type[BreakbulkError], int, str], ...] = (
    (RunNotFound, 404, "Not found"),
    (UnknownJob, 404, "Not found"),
    (WebhookNotFound, 404, "Not found"),
    (ParameterError, 422, "That parameter does not fit"),
    (StateError, 409, "Not now"),
    (OverlapError, 409, "It goes on already"),
    (LedgerUnreachable, 503, "The database does not answer"),
    (SchemaError, 503, "The tables do not fit"),
)
_TEMPLATE = "breakbulk.web:templates/error.jinja2"
_OLDER = " This web process may have older code than the workers: restart it after a deploy."


@exception_view_config(BreakbulkError, renderer=_TEMPLATE)
def of_ours(error: BreakbulkError, request: Request) -> dict[str, Any]:
    """Our own errors are one sentence each already."""
    known = ((status, heading) for kind, status, heading in _STATUSES if isinstance(error, kind))
    status, heading = next(known, (400, "That does not work"))
    return _page(request, status, heading, str(error) + _OLDER * isinstance(error, UnknownJob))


@notfound_view_config(renderer=_TEMPLATE)
def not_found(error: HTTPNotFound, request: Request) -> dict[str, Any]:  # noqa: ARG001
    """There is no such page."""
    return _page(request, 404, "Not found", "There is no such page.")


@forbidden_view_config(renderer=_TEMPLATE)
def forbidden(error: HTTPForbidden, request: Request) -> dict[str, Any]:
    """Nobody is known, or he may not do that."""
    if request.access is None:
        policy = request.registry["breakbulk.access"]
        if policy is None:
            why = "No access policy is set, so nobody is let in: give make_wsgi_app(access=…) one."
        elif isinstance(policy, LoginLink):
            why = "Open the link that the server has printed; each lets in one browser, once."
        else:
            why = "Sign in first."
        return _page(request, 401, "Who is there?", why)
    why = error.explanation if error.result is None else "You may look here, but not steer."
    return _page(request, 403, "That is not allowed", why)


@exception_view_config(HTTPException, renderer=_TEMPLATE)
def of_http(error: HTTPException, request: Request) -> Any:
    """Everything else that HTTP knows."""
    if error.code < 400:  # noqa: PLR2004  (redirects are raised, too)
        return error
    return _page(request, error.code, error.title, error.detail or error.explanation)


@exception_view_config(Exception, renderer=_TEMPLATE)
def of_nobody(error: Exception, request: Request) -> dict[str, Any]:
    """A mistake of ours: the log has the rest, the page tells nothing of it."""
    log.error("%s %r failed", request.method, request.environ["PATH_INFO"], exc_info=error)
    return _page(request, 500, "Something broke", "The server's log says what it was.")


def _page(request: Request, status: int, heading: str, why: str) -> dict[str, Any]:
    request.response.status_int = status
    return {"status": status, "heading": heading, "why": why}
