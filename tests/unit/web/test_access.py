from __future__ import annotations

import pytest

from breakbulk.web.access import OPERATE, VIEW, Access, LoginLink


def test_who_may_operate_may_look() -> None:
    assert Access("ana", OPERATE).may_view
    assert Access("ana", [OPERATE]).may_operate
    assert not Access("ben").may_operate
    assert Access("ben", VIEW).may_view
    assert not Access("eve", ()).may_view


def test_an_unknown_right_is_told() -> None:
    with pytest.raises(ValueError, match="There is no right 'admin'"):
        Access("ana", ["admin"])


@pytest.fixture
def links() -> list[str]:
    return []


@pytest.fixture
def policy(links: list[str]) -> LoginLink:
    made = LoginLink("ana@here", links.append)
    made.renew()
    return made


def cookie(session: str | None) -> dict[str, str]:
    return {"HTTP_COOKIE": f"theme=dark; {LoginLink.COOKIE}={session}"}


def test_a_link_lets_in_one_browser_once(policy: LoginLink, links: list[str]) -> None:
    session = policy.redeem(links[0])
    assert session is not None
    assert policy.redeem(links[0]) is None
    assert len(links) == 2, "the next link is announced when one is used"
    found = policy(cookie(session))
    assert found is not None
    assert found.user == "ana@here"
    assert found.may_operate


def test_nothing_else_lets_in(policy: LoginLink, links: list[str]) -> None:
    assert policy.redeem("") is None
    assert policy.redeem("\udcff") is None
    assert policy.redeem(links[0] + "x") is None
    for environ in ({}, cookie(""), cookie("guess"), {"HTTP_COOKIE": 'a="b; c=\x01,,;;=='}):
        assert policy(environ) is None
    assert LoginLink("ana", links.append).redeem("") is None, "before any link was made"
