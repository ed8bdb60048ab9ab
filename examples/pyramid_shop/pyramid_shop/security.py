"""Who may do what, and that nothing is started by a link on somebody else's page."""

from __future__ import annotations

from typing import Any

from pyramid.authentication import AuthTktCookieHelper
from pyramid.authorization import ACLHelper, Allow, Authenticated, Everyone
from pyramid.config import Configurator
from pyramid.csrf import CookieCSRFStoragePolicy
from pyramid.request import Request, RequestLocalCache
from sqlalchemy import select

from breakbulk.pyramid import OPERATE, VIEW
from pyramid_shop.models import User


class Root:
    """What permissions are about: the whole shop, its dashboard included."""

    __acl__ = (
        (Allow, "role:viewer", VIEW),
        (Allow, "role:operator", (VIEW, OPERATE)),
    )

    def __init__(self, _request: Request) -> None: ...


class SecurityPolicy:
    """A signed cookie says who it is, and the table of users what he may do."""

    def __init__(self, secret: str) -> None:
        self._cookie = AuthTktCookieHelper(secret, hashalg="sha512", http_only=True, samesite="Lax")
        self._users = RequestLocalCache(self._load)

    def _load(self, request: Request) -> User | None:
        found = self._cookie.identify(request)
        if found is None:
            return None
        user: User | None = request.dbsession.scalar(
            select(User).where(User.name == found["userid"])
        )
        return user

    def identity(self, request: Request) -> User | None:
        """Who it is."""
        found: User | None = self._users.get_or_create(request)
        return found

    def authenticated_userid(self, request: Request) -> str | None:
        """His name, which stands beside what he has done."""
        user = self.identity(request)
        return None if user is None else user.name

    def permits(self, request: Request, context: Any, permission: str) -> Any:
        """Whether his role may do that."""
        user = self.identity(request)
        known = [] if user is None else [Authenticated, f"role:{user.role}"]
        return ACLHelper().permits(context, [Everyone, *known], permission)

    def remember(self, request: Request, userid: str, **options: Any) -> list[tuple[str, str]]:
        """Headers that log somebody in."""
        headers: list[tuple[str, str]] = self._cookie.remember(request, userid, **options)
        return headers

    def forget(self, request: Request, **options: Any) -> list[tuple[str, str]]:
        """Headers that log him out."""
        headers: list[tuple[str, str]] = self._cookie.forget(request, **options)
        return headers


def includeme(config: Configurator) -> None:
    """Know users, and ask for a token with every POST."""
    secret = config.get_settings()["auth.secret"]
    if not secret:
        message = "Set auth.secret: whoever knows it can be anybody."
        raise ValueError(message)
    config.set_security_policy(SecurityPolicy(secret))
    config.set_root_factory(Root)
    config.set_csrf_storage_policy(CookieCSRFStoragePolicy(httponly=True, samesite="Lax"))
    config.set_default_csrf_options(require_csrf=True)
