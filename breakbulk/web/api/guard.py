"""What every request to the API has to get past, and every answer carries.

The order: who may (the permission of the view), what is asked for and brought along, whether it has
changed since the last look, and only then what the document says.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

from pyramid.httpexceptions import (
    HTTPBadRequest,
    HTTPMethodNotAllowed,
    HTTPNotAcceptable,
    HTTPNotFound,
    HTTPRequestEntityTooLarge,
    HTTPUnprocessableEntity,
    HTTPUnsupportedMediaType,
)
from pyramid.registry import Registry
from pyramid.request import Request
from pyramid.response import Response
from pyramid.view import view_config

from breakbulk.app import RunHandle
from breakbulk.web import protection
from breakbulk.web.access import OPERATE, VIEW
from breakbulk.web.api import bearer
from breakbulk.web.api.contract import JSON, PROBLEM, methods_of, query_of
from breakbulk.web.api.misfits import of_query
from breakbulk.web.api.problems import not_text

#: Of the largest number that a database's bigint holds.
_MOST_DIGITS = 19
_READS = {"GET", "HEAD"}

View = Callable[[Any, Request], Response]
TagOf = Callable[[Request], str]


def of_run(request: Request) -> str:
    """The tag of the run in the address."""
    tag: str = request.handle.tag()
    return tag


def of_all(request: Request) -> str:
    """The tag of all runs and workers."""
    tag: str = request.bulk.tag()
    return tag


def reads(route: str, tag_of: TagOf | None = None) -> Any:
    """A view that looks.

    Args:
        tag_of: tells whether a look would show something else than the last one.
    """
    return view_config(
        route_name=route,
        request_method="GET",
        renderer="json",
        openapi=True,
        permission=VIEW,
        decorator=(_negotiated, _conditional(tag_of)) if tag_of else (_negotiated,),
    )


def changes(route: str) -> Any:
    """A view that starts something, or steers."""
    return view_config(
        route_name=route,
        request_method="POST",
        renderer="json",
        openapi=True,
        permission=OPERATE,
        decorator=(_negotiated, _brings_json),
    )


def handle(request: Request) -> RunHandle:
    """The run in the address.

    Raises:
        HTTPNotFound: that is no run's number.
        RunNotFound: no run has it.
    """
    text = request.matchdict["run"]
    if not (text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS):
        raise HTTPNotFound("A run's number is a whole number from 1 up.")
    found: RunHandle = request.bulk.run(int(text))
    return found


def tween(handler: Callable[[Request], Response], _registry: Registry) -> Any:
    """Refuse what is not text, and let HEAD be what GET is, without the body."""

    def look(request: Request) -> Response:
        if not bearer.is_here(request):
            return handler(request)
        try:
            request.path_info, request.GET  # noqa: B018  (decoded when they are first looked at)
        except UnicodeDecodeError:
            return not_text(request)
        if request.method != "HEAD":
            return handler(request)
        request.method = "GET"
        try:
            return handler(request)
        finally:
            request.method = "HEAD"

    return look


def no_such_method(request: Request) -> Response:
    """Where there is a view for another method."""
    allowed = methods_of(request.matched_route.pattern)
    raise HTTPMethodNotAllowed(
        f"{request.method} is not for this address, but {', '.join(allowed)}.",
        headers={"Allow": ", ".join(allowed)},
    )


def _negotiated(view: View) -> View:
    """Refuse whoever would not understand the answer, or asks for what is not understood here."""

    def negotiate(context: Any, request: Request) -> Response:
        _check_query(request)
        if not request.accept.acceptable_offers([JSON, PROBLEM]):
            raise HTTPNotAcceptable("Answers are application/json: accept that.")
        return view(context, request)

    return negotiate


def _check_query(request: Request) -> None:
    """Refuse what would be ignored: with a misspelt filter a list looks as if all were meant."""
    known = query_of(request.matched_route.pattern, request.method)
    unknown = sorted(set(request.GET) - known)
    if unknown:
        refused = HTTPUnprocessableEntity("The address asks for what is not known here.")
        refused.errors = of_query(unknown, sorted(known))
        raise refused


def _conditional(tag_of: TagOf) -> Callable[[View], View]:
    """Answer a look that would show what is known already with 304, before anything is read."""

    def decorate(view: View) -> View:
        def look(context: Any, request: Request) -> Response:
            known = f"{tag_of(request)} {request.path_qs}"
            mark = hashlib.sha256(known.encode(errors="surrogateescape")).hexdigest()[:20]
            if mark in request.if_none_match:
                response = Response(status=304)
                del response.content_type
            else:
                response = view(context, request)
            # Weak: what is told at most once a second may be a little behind.
            response.headers["ETag"] = f'W/"{mark}"'
            response.headers["Cache-Control"] = "private, no-cache"
            response.headers["Vary"] = "Authorization, Cookie"
            return response

        return look

    return decorate


def _brings_json(view: View) -> View:
    """Refuse what is too large, what is not JSON, and what another site has asked for.

    A browser sends JSON to another site only if that site allows it, and this one never does. So
    who is known by a cookie brings no token of a form here, but always the type of his body.
    """

    def take(context: Any, request: Request) -> Response:
        if bearer.given(request) is None:
            protection.check_site(request)
            _need_json(request)
        body = _body(request)
        if body:
            _need_json(request)
            _parse(body)
        return view(context, request)

    return take


def _need_json(request: Request) -> None:
    if request.content_type != JSON:
        raise HTTPUnsupportedMediaType(
            f"A change is asked for in JSON: send Content-Type: {JSON}.",
            headers={"Accept-Post": JSON},
        )


def _body(request: Request) -> bytes:
    """The body, if it is not too large, however it was sent."""
    if (request.content_length or 0) > protection.MOST_BODY:
        body = b""
    else:
        body = request.body_file.read(protection.MOST_BODY + 1)
        if len(body) <= protection.MOST_BODY:
            request.body = body
            return bytes(body)
    raise HTTPRequestEntityTooLarge(protection.TOO_LARGE)


def _parse(body: bytes) -> None:
    try:
        # As it has to be stored: no half of a surrogate pair, nothing deeper than a stack.
        json.dumps(json.loads(body, parse_constant=_refuse), ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise HTTPBadRequest("The body is not JSON.") from error


def _refuse(word: str) -> None:
    raise ValueError(word)
