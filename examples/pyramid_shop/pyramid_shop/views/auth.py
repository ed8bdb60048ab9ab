"""Logging in and out, and the way there for whoever may not do something."""

from __future__ import annotations

from typing import Any

from pyramid.csrf import new_csrf_token
from pyramid.httpexceptions import HTTPForbidden, HTTPSeeOther
from pyramid.request import Request
from pyramid.security import forget, remember
from pyramid.view import forbidden_view_config, view_config
from sqlalchemy import select

from pyramid_shop.models import User


@view_config(route_name="login", renderer="pyramid_shop:templates/login.jinja2")
def login(request: Request) -> Any:
    """Ask who it is, and believe whoever knows the password."""
    following = _inside(request, request.params.get("next", ""))
    if request.method != "POST":
        return {"following": following, "trouble": None}
    name = request.POST.get("name", "")
    user = request.dbsession.scalar(select(User).where(User.name == name))
    if user is None or not user.has_password(request.POST.get("password", "")):
        request.response.status = 400
        return {"following": following, "trouble": "That is not a name and its password."}
    new_csrf_token(request)
    return HTTPSeeOther(following, headers=remember(request, user.name))


@view_config(route_name="logout", request_method="POST")
def logout(request: Request) -> HTTPSeeOther:
    """Forget who it is."""
    new_csrf_token(request)
    return HTTPSeeOther(request.route_path("home"), headers=forget(request))


@forbidden_view_config(renderer="pyramid_shop:templates/403.jinja2")
def forbidden(error: HTTPForbidden, request: Request) -> Any:  # noqa: ARG001
    """Whoever has not logged in may do so; the dashboard's pages lead here, too."""
    if request.authenticated_userid is None:
        here = request.path_qs if request.method == "GET" else request.route_path("home")
        return HTTPSeeOther(request.route_path("login", _query={"next": here}))
    request.response.status = 403
    return {}


def _inside(request: Request, path: str) -> str:
    """The path, if it is one of ours: not ``//elsewhere``, nor a scheme."""
    inside = path.startswith("/") and not path.startswith("//") and "\\" not in path
    return path if inside else request.route_path("home")
