"""Which addresses are somebody's outside, and which an operator has allowed."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from breakbulk.domain.address import Allowed, is_public

_PUBLIC = [
    "1.1.1.1",
    "93.184.215.14",
    "2606:4700:4700::1111",
    "2a00:1450:4001:80b::200e",
    # Public IPv4 behind a gateway that translates, or written as IPv6.
    "64:ff9b::101:101",
    "::ffff:1.1.1.1",
]
_INSIDE = [
    # This host, and this network.
    *("127.0.0.1", "127.8.8.8", "0.0.0.0", "0.1.2.3", "::1", "::"),  # noqa: S104  (not bound to)
    # Private, and unique local.
    *("10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "fc00::1", "fd12:3456::1"),
    # Link-local: the metadata services of clouds.
    *("169.254.169.254", "fe80::1", "fe80::1%eth0", "fd00:ec2::254"),
    # A carrier's own, benchmarks, documentation, protocols.
    *("100.64.0.1", "100.127.255.254", "198.18.0.1", "192.0.2.1", "192.0.0.8", "2001:db8::1"),
    # Multicast, broadcast, reserved.
    *("224.0.0.1", "239.255.255.255", "233.252.0.1", "255.255.255.255", "240.0.0.1", "ff02::1"),
    *("ff0e::1", "fec0::1", "4000::1", "100::1", "192.88.99.1", "3fff::1"),
    # All of that in other clothes.
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:a9fe:a9fe"),
    *("64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1.1.1.1"),
    *("2002:7f00:1::1", "2002:101:101::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "::7f00:1"),
]


@pytest.mark.parametrize("text", _PUBLIC)
def test_public(text: str) -> None:
    assert is_public(ip_address(text))


@pytest.mark.parametrize("text", _INSIDE)
def test_not_public(text: str) -> None:
    assert not is_public(ip_address(text))


def test_what_is_allowed_by_name() -> None:
    allowed = Allowed.parse("Hooks.Internal., 10.1.0.0/16 ::1 192.168.7.7")
    assert allowed.names("hooks.internal")
    assert allowed.names("HOOKS.internal.")
    assert not allowed.names("evil.hooks.internal")
    for text in ("10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::a01:203", "::1", "192.168.7.7"):
        assert allowed.holds(ip_address(text)), text
    for text in ("10.2.0.1", "127.0.0.1", "192.168.7.8", "::2", "1.1.1.1"):
        assert not allowed.holds(ip_address(text)), text


def test_nothing_is_allowed_unless_named() -> None:
    allowed = Allowed.parse("")
    assert not allowed.names("")
    assert not allowed.holds(ip_address("127.0.0.1"))


@pytest.mark.parametrize("text", ["10.0.0.1/8", "hooks/8", "::1/200"])
def test_what_is_no_network(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Allowed.parse(text)
