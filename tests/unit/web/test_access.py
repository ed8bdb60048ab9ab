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
    return {"SERVER_PORT": "80", "HTTP_COOKIE": f"theme=dark; breakbulk_session_80={session}"}


@pytest.mark.parametrize("foreign", ['foo={"a":1}', "a b", "a/b=1", "c=\xff"])
def test_what_others_have_set_on_this_host_keeps_nobody_out(
    policy: LoginLink, links: list[str], foreign: str
) -> None:
    session = policy.redeem(links[0])
    environ = {"SERVER_PORT": "80", "HTTP_COOKIE": f"{foreign}; breakbulk_session_80={session}"}
    assert policy(environ) is not None
    assert policy(environ | {"SERVER_PORT": "81"}) is None, "another server's"


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
    for cookies in ("", 'a="b; c=\x01,,;;=='):
        assert policy({"SERVER_PORT": "80", "HTTP_COOKIE": cookies}) is None
    for session in ("", "guess"):
        assert policy(cookie(session)) is None
    assert LoginLink("ana", links.append).redeem("") is None, "before any link was made"
