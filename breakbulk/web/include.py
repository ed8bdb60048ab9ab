"""The dashboard as part of a Pyramid application: ``config.include("breakbulk.web")``.

It stays an application of its own, with its own registry, error pages and CSRF tokens. The host
decides who may in, by its security policy, and answers whoever may not, as it does elsewhere.
"""

from __future__ import annotations

import threading
from typing import Any

from pyramid.config import Configurator
from pyramid.events import ApplicationCreated
from pyramid.httpexceptions import HTTPForbidden
from pyramid.interfaces import ISecurityPolicy
from pyramid.registry import Registry
from pyramid.request import Request
from pyramid.response import Response
from pyramid.security import NO_PERMISSION_REQUIRED

from breakbulk.errors import ConfigurationError
from breakbulk.web.access import OPERATE, VIEW, Access
from breakbulk.web.application import WSGIApplication, make_wsgi_app
from breakbulk.web.settings import read

_ROUTE = "breakbulk.web"
_ACCESS = "breakbulk.web.access"
#: Of one request object: what the host has attached to its own, or found out for it, is not ours.
_HOSTS = ("webob.adhoc_attrs", "bfg.routes.route", "bfg.routes.matchdict")
_ERRORS = 400


def includeme(config: Configurator) -> None:
    """Serve the dashboard under ``breakbulk.web.path``; ``breakbulk`` has to be included, too.

    Raises:
        ConfigurationError: a setting is unknown, or cannot be.
    """
    settings = read(config.get_settings())
    registry = config.registry
    registry[_ROUTE] = _Dashboard(registry, settings.title)
    registry["breakbulk.url"] = _url
    config.add_route(_ROUTE, f"{settings.path}{{rest:(/.*)?}}")
    config.add_view(
        registry[_ROUTE],
        route_name=_ROUTE,
        # Neither the host's default permission nor its tokens: it asks for its own.
        permission=NO_PERMISSION_REQUIRED,
        require_csrf=False,
    )
    config.add_subscriber(_created, ApplicationCreated)


def _created(event: ApplicationCreated) -> None:
    """Only now, so that it does not matter which is included first."""
    if "breakbulk" not in event.app.registry:
        raise ConfigurationError(
            "The dashboard shows an application's Breakbulk, and there is none: include breakbulk"
            " beside breakbulk.web."
        )


def _url(request: Request, rest: str) -> str:
    """Where a page of the dashboard is, for whoever the request comes from.

    Args:
        rest: the page's path in the dashboard, as ``/runs/1``.
    """
    found: str = request.route_url(_ROUTE, rest=rest)
    return found


class _Dashboard:
    """The host's view. The pages are made at the first look: a worker never needs them."""

    def __init__(self, registry: Registry, title: str) -> None:
        self._registry = registry
        self._title = title
        self._pages: WSGIApplication | None = None
        self._lock = threading.Lock()

    def __call__(self, request: Request) -> Response:
        access = _access(request)
        answer: Response = _moved(request, access).get_response(self._application())
        # Styles are for everybody, and machines have errors of their own; people are shown the
        # host's way in.
        if access is None and answer.status_int >= _ERRORS and answer.content_type == "text/html":
            raise HTTPForbidden(self._why())
        return answer

    def _application(self) -> WSGIApplication:
        with self._lock:
            if self._pages is None:
                self._pages = make_wsgi_app(
                    self._registry["breakbulk"],
                    access=lambda environ: environ[_ACCESS],
                    title=self._title,
                )
        return self._pages

    def _why(self) -> str:
        if self._registry.queryUtility(ISecurityPolicy) is None:
            return "The dashboard lets nobody in, because this application has no security policy."
        return f"The dashboard needs the permission breakbulk.{VIEW}."


def _access(request: Request) -> Access | None:
    """What the host's security policy says of whoever is there."""
    if not request.breakbulk.may_view:
        return None
    user = request.authenticated_userid
    rights = {VIEW, OPERATE} if request.breakbulk.may_operate else {VIEW}
    return Access("anybody" if user is None else str(user), rights)


def _moved(request: Request, access: Access | None) -> Request:
    """The same request with the dashboard at its root."""
    environ: dict[str, Any] = {
        name: value for name, value in request.environ.items() if name not in _HOSTS
    }
    moved = Request({**environ, _ACCESS: access})
    moved.path_info = request.matchdict["rest"]
    moved.script_name = request.script_name + request.path_info.removesuffix(moved.path_info)
    return moved
