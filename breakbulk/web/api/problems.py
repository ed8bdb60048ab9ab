"""What goes wrong, as RFC 9457 has it: one document for every error there is."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from pyramid.httpexceptions import HTTPException, HTTPForbidden, HTTPNotFound
from pyramid.request import Request
from pyramid.response import Response
from pyramid.view import exception_view_config, forbidden_view_config, notfound_view_config
from pyramid_openapi3.exceptions import RequestValidationError, ResponseValidationError

from breakbulk.errors import (
    BreakbulkError,
    CanvasError,
    IdempotencyConflict,
    LedgerUnreachable,
    OverlapError,
    ParameterError,
    RunNotFound,
    SchemaError,
    SourceError,
    StateError,
    UnknownJob,
)
from breakbulk.web.api import bearer
from breakbulk.web.api.contract import PROBLEM
from breakbulk.web.api.misfits import misfits, of_parameter

log = logging.getLogger("breakbulk.web")

#: Seconds after which it may be worth another try.
_AGAIN = "5"
_HERE = r"^/api(/|$)"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of problem.

    Attributes:
        name: the end of its ``type``.
    """

    name: str
    status: int
    title: str

    @property
    def type(self) -> str:
        """What its documents say it is."""
        return f"urn:breakbulk:problem:{self.name}"


UNREADABLE = Kind("unreadable-request", 400, "The request cannot be read")
UNKNOWN = Kind("unknown-client", 401, "Who is there?")
FORBIDDEN = Kind("forbidden", 403, "That is not allowed")
NOT_FOUND = Kind("not-found", 404, "There is no such thing")
METHOD = Kind("method-not-allowed", 405, "That cannot be done here")
NOT_ACCEPTABLE = Kind("not-acceptable", 406, "No answer would be understood")
STATE = Kind("wrong-state", 409, "Not now")
OVERLAP = Kind("overlap", 409, "It goes on already")
TOO_LARGE = Kind("request-too-large", 413, "The request is too large")
MEDIA = Kind("unsupported-media-type", 415, "That is no JSON")
INVALID = Kind("invalid-request", 422, "Something in the request does not fit")
PARAMETER = Kind("invalid-parameter", 422, "A parameter does not fit")
JOB = Kind("unknown-job", 422, "There is no such job")
SOURCE = Kind("unreadable-rows", 422, "The rows of the job cannot be walked")
CONFLICT = Kind("idempotency-conflict", 422, "The idempotency key was used for something else")
HEADERS = Kind("headers-too-large", 431, "The headers are too large")
BROKEN = Kind("internal-error", 500, "Something broke")
MISUSE = Kind("cannot-work", 500, "That cannot work here")
AWAY = Kind("database-unreachable", 503, "The database does not answer")
TABLES = Kind("tables-do-not-fit", 503, "The tables do not fit")

KINDS = tuple(one for one in list(vars().values()) if isinstance(one, Kind))

_OURS: tuple[tuple[type[BreakbulkError], Kind], ...] = (
    (RunNotFound, NOT_FOUND),
    (UnknownJob, JOB),
    (CanvasError, JOB),
    (ParameterError, PARAMETER),
    (StateError, STATE),
    (OverlapError, OVERLAP),
    (IdempotencyConflict, CONFLICT),
    (SourceError, SOURCE),
    (LedgerUnreachable, AWAY),
    (SchemaError, TABLES),
    (BreakbulkError, MISUSE),
)


def details(kind: Kind, detail: str, *, status: int | None = None, **more: Any) -> bytes:
    """A problem as JSON.

    Args:
        status: where it is not that of its kind.
        more: members that are left out where they are empty.
    """
    known = {
        "type": kind.type,
        "title": kind.title,
        "status": status or kind.status,
        "detail": detail,
        **{name: value for name, value in more.items() if value},
    }
    return json.dumps(known).encode()


def _answer(
    request: Request, kind: Kind, detail: str, *, status: int | None = None, **more: Any
) -> Response:
    response = Response(
        details(kind, detail, status=status, instance=_address(request), **more),
        status=status or kind.status,
        content_type=PROBLEM,
        charset=None,
    )
    if kind.status == AWAY.status:
        response.headers["Retry-After"] = _AGAIN
    return response


def _address(request: Request) -> str:
    environ = request.environ
    return quote(environ.get("SCRIPT_NAME", "") + environ["PATH_INFO"], encoding="latin-1")


@exception_view_config(BreakbulkError, path_info=_HERE)
def of_ours(error: BreakbulkError, request: Request) -> Response:
    """Our own errors are one sentence each already."""
    kind = next(kind for cls, kind in _OURS if isinstance(error, cls))
    if kind is JOB and request.method != "POST":
        kind = NOT_FOUND
    name = getattr(error, "parameter", None)
    told = of_parameter(name, str(error)) if name is not None else None
    return _answer(request, kind, str(error), run=getattr(error, "run_id", None), errors=told)


@notfound_view_config(path_info=_HERE)
def not_found(error: HTTPNotFound, request: Request) -> Response:
    """There is nothing of that address."""
    # What Pyramid says by itself is the path once more, or how its predicates look inside.
    said = error.detail if type(error) is HTTPNotFound and error.detail != request.path_info else ""
    return _answer(request, NOT_FOUND, said or "There is nothing at this address.")


@forbidden_view_config(path_info=_HERE)
def forbidden(error: HTTPForbidden, request: Request) -> Response:
    """Nobody is known, or he may not do that."""
    if request.access is not None:
        # Whoever has a result was refused by a permission, of which Pyramid says how it is called.
        detail = error.detail or error.explanation if error.result is None else None
        if not detail:
            token = bearer.given(request) is not None
            detail = f"{'This token' if token else 'You'} may only look here, not steer."
        return _answer(request, FORBIDDEN, detail)
    wrong = bearer.given(request) is not None
    detail = (
        "This token is wrong, has expired or was revoked: 'breakbulk token list' tells."
        if wrong
        else "Send a token, as in Authorization: Bearer bbk_…; 'breakbulk token create' makes one."
    )
    response = _answer(request, UNKNOWN, detail)
    challenge = 'Bearer realm="breakbulk"'
    response.headers["WWW-Authenticate"] = challenge + (', error="invalid_token"' if wrong else "")
    return response


@exception_view_config(RequestValidationError, path_info=_HERE)
def of_request(error: RequestValidationError, request: Request) -> Response:
    """It is not what the document says."""
    found = list(misfits(error.errors))
    if any("path" in one for one in found):
        return _answer(request, NOT_FOUND, "There is nothing at this address.")
    unread = any("pointer" not in one for one in found)
    first = found[0]
    where = next((f" ({first[key]})" for key in _PLACES if key in first), "")
    return _answer(
        request, UNREADABLE if unread else INVALID, f"{first['detail']}{where}.", errors=found
    )


_PLACES = ("pointer", "parameter", "header")


@exception_view_config(ResponseValidationError, path_info=_HERE)
def of_answer(error: ResponseValidationError, request: Request) -> Response:
    """A mistake of ours: the log has the rest."""
    return of_nobody(error, request)


@exception_view_config(HTTPException, path_info=_HERE)
def of_http(error: HTTPException, request: Request) -> Any:
    """Everything else that HTTP knows."""
    if error.code < UNREADABLE.status:
        return error
    kind = next((one for one in KINDS if one.status == error.code), UNREADABLE)
    told = getattr(error, "errors", None)
    response = _answer(
        request, kind, error.detail or error.explanation, status=error.code, errors=told
    )
    for name in ("Allow", "Accept-Post"):
        if name in error.headers:
            response.headers[name] = error.headers[name]
    return response


def not_text(request: Request) -> Response:
    """The address cannot be read, so that there is none to look a view up by."""
    return _answer(request, UNREADABLE, "The address is not written in UTF-8.")


@exception_view_config(Exception, path_info=_HERE)
def of_nobody(error: Exception, request: Request) -> Response:
    """A mistake of ours: the log has the rest, the answer tells nothing of it."""
    log.error("%s %s failed", request.method, request.path, exc_info=error)
    return _answer(request, BROKEN, "The server's log says what it was.")


def known_problems() -> Iterator[Kind]:
    """Every kind of problem, by its status."""
    yield from sorted(KINDS, key=lambda one: one.status)
