"""What may be posted to: URLs at registration, addresses at every connection."""

from __future__ import annotations

import threading

import pytest

from breakbulk.domain.address import Allowed
from breakbulk.errors import EndpointRefused
from breakbulk.runner.guard import Guard, Target, target_of
from breakbulk.runner.lookup import LookUps


def guard(*addresses: str, allow: str = "") -> Guard:
    return Guard(Allowed.parse(allow), LookUps(lambda _host, _port: list(addresses)))


def test_a_url_is_taken_apart() -> None:
    assert target_of("https://Example.com") == Target("https", "example.com", 443, "/")
    assert target_of("http://example.com:8080/in?a=b") == Target(
        "http", "example.com", 8080, "/in?a=b"
    )
    assert target_of("https://[2606:4700::1]:8443/x").host == "2606:4700::1"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com/in",
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://example.com",
        "https://",
        "https:///in",
        "https://example.com:99999/",
        "https://example.com:x/",
        "https://user@example.com/",
        "https://user:secret@example.com/",
        "https://@example.com/",
        "https://example.com/#part",
        "https://example.com/a b",
        "https://example.com/\r\nHost: inside",
        "https://exam\tple.com/",
        "https://exämple.com/",
        "https://example.com\\@inside/",
        "https://example.com%2einside/",
        "https://[::1/",
        "https://example.com/" + "a" * 2_000,
    ],
)
def test_what_is_no_url_for_events(url: str) -> None:
    with pytest.raises(EndpointRefused, match=r"^[A-Z].+\.$"):
        target_of(url)


def test_a_public_host() -> None:
    assert guard("1.1.1.1", "2606:4700::1").addresses(target_of("https://example.com/")) == [
        "1.1.1.1",
        "2606:4700::1",
    ]


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "fe80::1%1"]
)
def test_a_host_that_is_inside(address: str) -> None:
    with pytest.raises(EndpointRefused, match=rf"{address}, which is not a public address.*allow"):
        guard(address).check("https://metadata.example/")


def test_of_several_addresses_only_those_outside_are_connected_to() -> None:
    mixed = guard("10.0.0.1", "1.1.1.1", "127.0.0.1")
    assert mixed.addresses(target_of("https://example.com/")) == ["1.1.1.1"]


def test_a_host_without_an_address() -> None:
    with pytest.raises(EndpointRefused, match="no address, which is not"):
        guard().check("https://example.com/")


def test_a_host_that_is_not_there() -> None:
    def fail(_host: str, _port: int) -> list[str]:
        raise OSError("Name or service not known")

    with pytest.raises(EndpointRefused, match=r"cannot be found \(Name or service not known\)"):
        Guard(Allowed(), LookUps(fail)).check("https://nowhere.example/")


def test_a_resolver_that_hangs() -> None:
    go_on = threading.Event()

    def hang(_host: str, _port: int) -> list[str]:
        go_on.wait(60)
        return ["1.1.1.1"]

    hanging = Guard(Allowed(), LookUps(hang))
    with pytest.raises(EndpointRefused, match=r"not to be had in time: see whether .* answers"):
        hanging.addresses(target_of("https://example.com/"), 0.01)
    go_on.set()


def test_plain_http_is_for_those_that_are_named() -> None:
    with pytest.raises(EndpointRefused, match="over plain http: use https"):
        guard("1.1.1.1").check("http://example.com/")
    for allow in ("example.com", "1.1.1.0/24"):
        target = guard("1.1.1.1", allow=allow).check("http://example.com/")
        assert not target.tls


def test_what_is_inside_and_allowed() -> None:
    for host, allow in (("anything.internal", "10.1.0.0/16"), ("hooks.internal", "hooks.internal")):
        allowing = guard("10.1.2.3", allow=allow)
        assert allowing.addresses(allowing.check(f"http://{host}/")) == ["10.1.2.3"]
    with pytest.raises(EndpointRefused):
        guard("10.2.2.3", allow="10.1.0.0/16 hooks.internal").check("http://anything.internal/")


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "127.1", "0177.0.0.1", "localhost"])
def test_other_spellings_of_this_very_host(host: str) -> None:
    """The system makes an address of them, and that is what is looked at."""
    with pytest.raises(EndpointRefused, match=r"127\.0\.0\.1|::1"):
        Guard(Allowed()).check(f"https://{host}/")
