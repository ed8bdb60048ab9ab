"""Logging in by a link, and choosing how pages look."""

from __future__ import annotations

from pyramid.httpexceptions import HTTPForbidden, HTTPNotFound, HTTPSeeOther
from pyramid.request import Request
from pyramid.response import Response
from pyramid.security import NO_PERMISSION_REQUIRED
from pyramid.view import view_config

from breakbulk.web import protection
from breakbulk.web.access import LoginLink
from breakbulk.web.preferences import Preferences


@view_config(route_name="login", request_method="GET", permission=NO_PERMISSION_REQUIRED)
def login(request: Request) -> Response:
    """Trade the token of a link for a session."""
    policy = request.registry["breakbulk.access"]
    if not isinstance(policy, LoginLink):
        raise HTTPNotFound
    if request.method == "HEAD":
        # Who only looks whether the link leads somewhere has not used it.
        return request.response
    session = policy.redeem(request.GET.get("token", ""))
    if session is None:
        raise HTTPForbidden
    response = HTTPSeeOther(request.route_path("overview"))
    response.set_cookie(
        policy.cookie_of(request.environ),
        session,
        path=request.script_name or "/",
        httponly=True,
        secure=request.scheme == "https",
        samesite="Strict",
    )
    return response


@view_config(route_name="preferences", request_method="POST")
def preferences(request: Request) -> HTTPSeeOther:
    """Keep what was chosen, and go back to where it was chosen."""
    protection.check(request)
    chosen = Preferences.of(request).changed(request.POST.get("theme"), request.POST.get("refresh"))
    back = request.POST.get("back", "")
    # Only a path of ours: not //elsewhere, nor a scheme.
    home = request.route_path("overview")
    inside = back.startswith(home) and not back.startswith("//") and "\\" not in back
    response = HTTPSeeOther(back if inside else home)
    chosen.keep(request)
    response.headerlist.extend(
        (name, value) for name, value in request.response.headerlist if name == "Set-Cookie"
    )
    return response
