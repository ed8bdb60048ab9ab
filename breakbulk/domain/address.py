"""Which addresses outside may be connected to, so that nobody makes a worker reach what is inside.

Whoever may register an endpoint names a host, and workers stand where that host's name may mean
something else than outside: the metadata service of a cloud, a database, the worker's own machine.
So what counts is the address, at the moment when it is connected to.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

#: IPv4 in the last four bytes: what a gateway that translates makes of it is what is reached.
_NAT64 = IPv6Network("64:ff9b::/96")
#: The only part of IPv6 in which there are hosts outside.
_UNICAST = IPv6Network("2000::/3")
#: Not all versions of Python know all of them: protocols of their own (Teredo among them), 6to4
#: with its relays, and documentation.
_NEVER = (
    IPv4Network("192.0.0.0/24"),
    IPv4Network("192.88.99.0/24"),
    IPv6Network("2001::/23"),
    IPv6Network("2001:db8::/32"),
    IPv6Network("2002::/16"),
    IPv6Network("3fff::/20"),
)


@dataclass(frozen=True, slots=True)
class Allowed:
    """Hosts and networks that an operator has allowed by name.

    Attributes:
        hosts: names, in lower case.
        networks: of addresses.
    """

    hosts: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Allowed:
        """Read hosts, addresses and networks with spaces or commas between them.

        Raises:
            ValueError: a network is none, as in ``10.0.0.1/8``.
        """
        hosts, networks = set(), []
        for word in text.replace(",", " ").lower().split():
            if "/" in word or _is_address(word):
                networks.append(ip_network(word))
            else:
                hosts.add(word.rstrip("."))
        return cls(frozenset(hosts), tuple(networks))

    def names(self, host: str) -> bool:
        """Whether a host is allowed by its name, whatever address it has."""
        return host.lower().rstrip(".") in self.hosts

    def holds(self, address: Address) -> bool:
        """Whether an address is in one of the networks."""
        inner = _inside(address)
        return any(
            one.version == network.version and one in network
            for one in {address, inner}
            for network in self.networks
        )


def is_public(address: Address) -> bool:
    """Whether an address is anybody's outside, and not special in any way."""
    inner = _inside(address)
    if any(inner.version == network.version and inner in network for network in _NEVER):
        return False
    if isinstance(inner, IPv6Address) and inner not in _UNICAST:
        return False
    return inner.is_global and not (
        inner.is_multicast or inner.is_reserved or inner.is_unspecified or inner.is_loopback
    )


def _inside(address: Address) -> Address:
    """The IPv4 address that an IPv6 address stands for; else itself."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _is_address(word: str) -> bool:
    try:
        ip_address(word)
    except ValueError:
        return False
    return True
