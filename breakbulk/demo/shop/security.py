"""Who may in: whoever has the link that the demo has shown. The dashboard goes by it, too."""

from __future__ import annotations

from typing import Any

from pyramid.config import Configurator
from pyramid.csrf import CookieCSRFStoragePolicy
from pyramid.request import Request
from pyramid.security import Allowed, Denied

from breakbulk.web import Access, LoginLink

#: Where the registry keeps the links; a worker serves nobody and has none.
DOOR = "shop.door"


class LinkPolicy:
    """Everything for whoever has come by a link, nothing for anybody else."""

    def identity(self, request: Request) -> Access | None:
        """Who it is."""
        door: LoginLink | None = request.registry.get(DOOR)
        return None if door is None else door(request.environ)

    def authenticated_userid(self, request: Request) -> str | None:
        """His name."""
        identity = self.identity(request)
        return None if identity is None else identity.user

    def permits(self, request: Request, context: object, permission: str) -> Allowed | Denied:  # noqa: ARG002
        """Whether he may do that."""
        known = self.identity(request) is not None
        return Allowed("came by the link") if known else Denied("came by no link")


def includeme(config: Configurator) -> None:
    """Let in whoever has a link, and take changes from the shop's own pages alone."""
    config.set_security_policy(LinkPolicy())
    config.set_default_permission("shop")
    config.set_csrf_storage_policy(CookieCSRFStoragePolicy(httponly=True, samesite="Strict"))
    config.set_default_csrf_options(require_csrf=True)
    config.add_route("login", "/login")
    config.add_tween("breakbulk.demo.shop.security.headers")


def headers(handler: Any, _registry: Any) -> Any:
    """No script and no style but the shop's own; the dashboard's pages have said so already."""

    def tween(request: Request) -> Any:
        response = handler(request)
        response.headers.setdefault(
            "Content-Security-Policy",
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
            " img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
        )
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        response.headers.setdefault("Referrer-Policy", "same-origin")
        return response

    return tween
