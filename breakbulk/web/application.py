"""Putting the dashboard together: a small Pyramid application with a registry of its own.

The host's application, if it is a Pyramid one, is not touched, and its transaction is never joined
by surprise: every page opens and closes what it needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from pyramid.config import Configurator, global_registries
from pyramid.events import NewRequest
from pyramid.request import Request
from pyramid.security import Allowed, Denied

from breakbulk.app import Breakbulk
from breakbulk.web import assets, protection
from breakbulk.web.access import OPERATE, VIEW, Access, AccessPolicy
from breakbulk.web.api import bearer
from breakbulk.web.environment import add_environment

WSGIApplication = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

_ROUTES = {
    "overview": "/",
    "runs": "/runs",
    "jobs": "/jobs",
    "job": "/jobs/{job}",
    "workers": "/workers",
    "metrics": "/metrics",
    "run": r"/runs/{run:\d{1,18}}",
    "chunks": r"/runs/{run:\d{1,18}}/chunks",
    "chunk": r"/runs/{run:\d{1,18}}/chunks/{chunk:\d{1,9}(\.([ab]{1,31}[01]{0,31}|[01]{1,62}))?}",
    "failures": r"/runs/{run:\d{1,18}}/failures",
    "webhooks": "/webhooks",
    "endpoint_verb": r"/webhooks/{endpoint:\d{1,18}}/{verb:enable|disable}",
    "delivery": r"/webhooks/deliveries/{delivery:\d{1,18}}",
    "replay": r"/webhooks/deliveries/{delivery:\d{1,18}}/replay",
    "report": r"/runs/{run:\d{1,18}}/report",
    "verb": r"/runs/{run:\d{1,18}}/{verb:pause|resume|cancel|force|lanes|limits|retry|finish}",
    "login": "/login",
    "preferences": "/preferences",
}


def make_wsgi_app(
    bulk: Breakbulk, *, access: AccessPolicy | None = None, title: str = "Breakbulk"
) -> WSGIApplication:
    """The dashboard of an application, as a WSGI application to be mounted anywhere.

    Args:
        bulk: whose runs and jobs it shows.
        access: says who a request comes from and what he may do, from the WSGI environment: a
            function that returns an ``Access``, or None for nobody. Without it nobody is let in.
        title: shown at the top, to tell one installation from another.
    """
    config = Configurator(settings={"breakbulk.title": title})
    config.registry["breakbulk"] = bulk
    config.registry["breakbulk.access"] = access
    config.set_security_policy(_Policy())
    config.set_default_permission(VIEW)
    config.add_request_method(lambda _request: bulk, "bulk", reify=True)
    config.add_request_method(_access, "access", reify=True)
    config.include("breakbulk.web.api")
    # Outermost, so that its headers are on whatever others answer.
    config.add_tween("breakbulk.web.protection.tween")
    config.add_subscriber(protection.limit_body, NewRequest)
    config.include(assets)
    add_environment(config)
    for name, pattern in _ROUTES.items():
        config.add_route(name, pattern)
    config.scan("breakbulk.web.views")
    application: WSGIApplication = config.make_wsgi_app()
    # What `pshell` and the like take for the application is the host's, not this part of it.
    global_registries.remove(config.registry)
    return application


def _access(request: Request) -> Access | None:
    token = bearer.given(request)
    if token is not None:
        return bearer.access(request, token)
    policy: AccessPolicy | None = request.registry["breakbulk.access"]
    return None if policy is None else policy(request.environ)


class _Policy:
    """Asks the host's policy once a request."""

    def identity(self, request: Request) -> Access | None:
        """Who it is."""
        found: Access | None = request.access
        return found

    def authenticated_userid(self, request: Request) -> str | None:
        """His name."""
        return None if request.access is None else request.access.user

    def permits(self, request: Request, context: object, permission: str) -> Allowed | Denied:  # noqa: ARG002
        """Whether he may do that; whoever may operate may look."""
        access: Access | None = request.access
        if access is None:
            return Denied("nobody is known here")
        allowed = access.may_operate if permission == OPERATE else access.may_view
        return Allowed("by the host") if allowed else Denied(f"{access.user} may not {permission}")

    def remember(self, request: Request, userid: str, **_: Any) -> list[tuple[str, str]]:  # noqa: ARG002
        """Nothing: the host remembers."""
        return []

    def forget(self, request: Request, **_: Any) -> list[tuple[str, str]]:  # noqa: ARG002
        """Nothing, likewise."""
        return []
