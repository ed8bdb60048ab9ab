"""Where events may be sent to, asked when an endpoint is registered and at every connection.

A name may mean another address by the time it is connected to, so what is checked is the address
itself, and what is connected to is the address that was checked.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from breakbulk.domain.address import Address, Allowed, is_public
from breakbulk.errors import EndpointRefused
from breakbulk.runner.lookup import LookUps, look_ups

_PORTS = {"https": 443, "http": 80}
_LONGEST = 2_000
_ALLOW = "the setting webhook_allow, of each process that sends, names those that may be"
#: How long a look-up may take where nobody says otherwise.
_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Target:
    """A URL, taken apart once and for all, so that nobody can read it in two ways.

    Attributes:
        path: with the query.
    """

    scheme: str
    host: str
    port: int
    path: str

    @property
    def tls(self) -> bool:
        """Whether the receiver has to prove who it is."""
        return self.scheme == "https"


class Guard:
    """Decides about URLs and addresses.

    Args:
        allowed: what an operator has allowed though it is not public.
        look_ups: knows the addresses of hosts.
    """

    def __init__(self, allowed: Allowed, look_ups: LookUps = look_ups) -> None:
        self._allowed = allowed
        self._look_ups = look_ups

    def check(self, url: str) -> Target:
        """Take a URL apart, and see that it leads somewhere.

        Raises:
            EndpointRefused: it is no URL for events, or leads to where nothing may be sent.
        """
        target = target_of(url)
        self.addresses(target)
        return target

    def addresses(self, target: Target, seconds: float = _SECONDS) -> list[str]:
        """The addresses of a target that may be connected to.

        Args:
            seconds: how long it may take to find them.

        Raises:
            EndpointRefused: it has none, or none of them may be, or nobody said so in time.
        """
        try:
            found = self._look_ups.addresses(target.host, target.port, seconds)
        except TimeoutError as error:
            raise EndpointRefused(
                f"The address of {target.host} was not to be had in time: see whether this"
                " machine's resolver answers."
            ) from error
        except (OSError, UnicodeError) as error:
            raise EndpointRefused(
                f"The host {target.host} cannot be found ({error}): check its name."
            ) from error
        known = [(one, ipaddress.ip_address(one)) for one in found]
        named = self._allowed.names(target.host)
        fit = [text for text, one in known if named or self._may(one, tls=target.tls)]
        if fit:
            return fit
        if not target.tls and any(is_public(one) for _, one in known):
            raise EndpointRefused(
                f"Events for {target.host} would go over plain http: use https, or allow the host"
                f" ({_ALLOW})."
            )
        shown = ", ".join(found) or "no address"
        raise EndpointRefused(
            f"The host {target.host} is {shown}, which is not a public address: {_ALLOW}."
        )

    def _may(self, address: Address, *, tls: bool) -> bool:
        return self._allowed.holds(address) or (tls and is_public(address))


def target_of(url: str) -> Target:
    """Take a URL apart.

    Raises:
        EndpointRefused: it is no URL that events can be posted to.
    """
    # Parsers disagree about all that is not plain, and some throw it away without a word.
    if len(url) > _LONGEST or not url.isascii() or any(ord(one) <= 0x20 for one in url):  # noqa: PLR2004  (space)
        raise EndpointRefused(
            f"A URL has at most {_LONGEST} ASCII characters and no spaces: encode the others."
        )
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise EndpointRefused(f"That is not a URL ({error}).") from None
    if parts.scheme not in _PORTS or not host:
        raise EndpointRefused("Give a URL that begins with https://, as in https://example.com/in.")
    _refuse(parts)
    query = f"?{parts.query}" if parts.query else ""
    return Target(parts.scheme, host, port or _PORTS[parts.scheme], f"{parts.path or '/'}{query}")


def _refuse(parts: SplitResult) -> None:
    if parts.username is not None or parts.password is not None:
        raise EndpointRefused(
            "A URL with a user or a password in it would be shown with it: the signature shows"
            " the receiver who sends."
        )
    if parts.fragment:
        raise EndpointRefused("Leave out what is behind the # of the URL: it is never sent.")
    if "\\" in parts.netloc or "%" in parts.netloc:
        raise EndpointRefused("A host has no backslash and no % in it.")
