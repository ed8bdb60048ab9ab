"""The shop's one page, the button on it, and the part of it that moves."""

from __future__ import annotations

import hashlib
from typing import Any
from uuid import uuid4

from pyramid.httpexceptions import HTTPForbidden, HTTPNotModified, HTTPSeeOther
from pyramid.request import Request
from pyramid.response import Response
from pyramid.security import NO_PERMISSION_REQUIRED
from pyramid.view import forbidden_view_config, view_config
from sqlalchemy import func, select

from breakbulk.console import words
from breakbulk.demo.proofs import Proof, by_sql
from breakbulk.demo.shop.jobs import ProcessWarehouse
from breakbulk.demo.shop.security import DOOR
from breakbulk.demo.warehouse import Notice, Product, expect
from breakbulk.domain.run import Run
from breakbulk.domain.status import FINISHED, RunStatus
from breakbulk.errors import OverlapError
from breakbulk.web import LoginLink

#: Products that are shown, from all over the warehouse: one sees the work go through it.
_SHELVES = 9
_TEMPLATES = "breakbulk.demo.shop:templates/"


@view_config(route_name="home", request_method="GET", renderer=f"{_TEMPLATES}home.jinja2")
@view_config(route_name="live", request_method="GET", renderer=f"{_TEMPLATES}live.jinja2")
def home(request: Request) -> dict[str, Any]:
    """The warehouse, and how far its last run is."""
    breakbulk, session = request.breakbulk, request.dbsession
    last = session.scalar(select(func.max(Product.id))) or 0
    _unless_unchanged(request, f"{last} {breakbulk.bulk.tag()}")
    run: Run | None = next(iter(breakbulk.runs(job="ProcessWarehouse", limit=1)), None)
    places = {1 + step * (last - 1) // (_SHELVES - 1) for step in range(_SHELVES)}
    shelves = select(Product).where(Product.id.in_(places)).order_by(Product.id)
    found: dict[str, Any] = {
        "words": words,
        "products": last,
        "shelves": session.scalars(shelves).all(),
        "workers": [worker.pid for worker in breakbulk.bulk.live_workers()],
        "run": run,
        "moving": run is not None and run.status not in FINISHED,
        "progress": None,
        "notice": None,
        "proof": None,
    }
    if run is not None:
        found["progress"] = breakbulk.bulk.progress_of([run])[run.id]
        if not found["moving"]:
            # It commits together with the end, which may come between two looks of ours.
            found["notice"] = session.scalar(select(Notice.text).where(Notice.run_id == run.id))
            found["proof"] = _proof(request, run)
    return found


@view_config(route_name="process", request_method="POST")
def process(request: Request) -> HTTPSeeOther:
    """Process the whole warehouse, as part of this request's transaction."""
    key = uuid4().hex
    try:
        run = request.breakbulk.submit(ProcessWarehouse(), idempotency_key=key)
    except OverlapError:
        pass  # somebody has pressed it already, and the page shows that run
    else:
        if run.created:
            expect(request.dbsession, key)
    return HTTPSeeOther(request.route_path("home"))


@view_config(route_name="login", request_method="GET", permission=NO_PERMISSION_REQUIRED)
def login(request: Request) -> Response:
    """Trade the token of the link for a session."""
    door: LoginLink = request.registry[DOOR]
    if request.method == "HEAD":
        # Who only looks whether the link leads somewhere has not used it.
        return request.response
    session = door.redeem(request.GET.get("token", ""))
    if session is None:
        raise HTTPForbidden
    response = HTTPSeeOther(request.route_path("home"))
    name = door.cookie_of(request.environ)
    response.set_cookie(name, session, path="/", httponly=True, samesite="Strict")
    return response


@forbidden_view_config(renderer=f"{_TEMPLATES}closed.jinja2")
def closed(request: Request) -> dict[str, Any]:
    """Nobody that came by a link; for the dashboard's pages, too."""
    request.response.status_int = 401
    return {}


def _unless_unchanged(request: Request, tag: str) -> None:
    """End here if the browser has what would be sent."""
    known = hashlib.sha256(f"{tag} {request.path}".encode()).hexdigest()[:16]
    if known in request.if_none_match:
        raise HTTPNotModified
    request.response.etag = known
    request.response.cache_control = "private, no-cache"


def _proof(request: Request, run: Run) -> Proof | None:
    if run.status is not RunStatus.SUCCEEDED:
        return None
    return by_sql(request.dbsession.connection(), run.idempotency_key)
