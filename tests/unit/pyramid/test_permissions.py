"""Permissions: the host's security policy decides, and without one nobody may."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pyramid.authorization import ACLHelper, Allow, Authenticated, Everyone
from pyramid.httpexceptions import HTTPForbidden
from pyramid.request import Request, apply_request_extensions

from breakbulk.pyramid import OPERATE, VIEW, may, require

if TYPE_CHECKING:
    from tests.unit.pyramid.conftest import Configure


class Policy:
    """Everybody may look; ann may operate."""

    def identity(self, request: Request) -> str | None:
        user: str | None = request.headers.get("user")
        return user

    authenticated_userid = identity

    def permits(self, request: Request, context: Any, permission: str) -> Any:
        user = self.identity(request)
        principals = [Everyone, *([Authenticated, user] if user else [])]
        return ACLHelper().permits(context, principals, permission)


class Root:
    __acl__ = ((Allow, Everyone, VIEW), (Allow, "ann", OPERATE))


class Closed:
    __acl__ = ()


def request_of(config: Any, user: str | None = None) -> Request:
    config.commit()
    request = Request.blank("/", headers={"user": user} if user else {})
    request.registry = config.registry
    request.context = Root()
    apply_request_extensions(request)
    return request


def test_the_hosts_policy_decides(configure: Configure) -> None:
    config = configure()
    config.set_security_policy(Policy())
    anybody, ann = request_of(config), request_of(config, "ann")
    assert may(anybody, VIEW)
    assert not may(anybody, OPERATE)
    assert may(ann, OPERATE)
    assert not may(ann, OPERATE, Closed())
    require(ann, OPERATE)
    with pytest.raises(HTTPForbidden, match=r"needs the permission breakbulk\.operate"):
        require(anybody, OPERATE)
    assert (anybody.breakbulk.may_view, anybody.breakbulk.may_operate) == (True, False)
    assert ann.breakbulk.may_operate


def test_without_a_policy_nobody_may(configure: Configure) -> None:
    request = request_of(configure())
    assert request.has_permission(VIEW), "Pyramid allows everything"
    assert not may(request, VIEW)
    assert not request.breakbulk.may_operate
    with pytest.raises(HTTPForbidden):
        require(request, VIEW)
