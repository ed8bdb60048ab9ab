"""Nodes: machines of their own, as far as the network knows, that share a database and a broker."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import make_url

from breakbulk.embedded import EmbeddedPostgres
from breakbulk.embedded.cluster import prepare
from tests.support.namespaces import namespace
from tests.support.proxy import Proxy
from tests.support.servers import TEST_SETTINGS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.namespaces import Namespace


@dataclass(frozen=True)
class Node:
    """A machine.

    Attributes:
        options: for a worker that is to run there.
    """

    place: Namespace
    options: dict[str, Any]

    def cut(self) -> None:
        """Nothing gets through to it any more."""
        self.place.cut()

    def mend(self) -> None:
        """It is on the network again."""
        self.place.mend()


@dataclass(frozen=True)
class Site:
    """Some nodes, and the database's URL for whoever is on the same machine as it."""

    database: str
    nodes: tuple[Node, ...]


@contextmanager
def site(count: int, valkey_url: str, directory: Path) -> Iterator[Site]:
    """Wire nodes to a PostgreSQL of their own and to that broker.

    PostgreSQL listens on each cable itself: a proxy would answer it in a lost node's place.
    """
    with ExitStack() as stack:
        places = [stack.enter_context(namespace()) for _ in range(count)]
        server = EmbeddedPostgres(directory / "site", settings=TEST_SETTINGS)
        cables = [place.address for place in places]
        server._settings["listen_addresses"] += "".join(f",{cable}" for cable in cables)
        with (prepare(directory / "site").data / "pg_hba.conf").open("a") as access:
            access.writelines(f"host all all {cable}/30 scram-sha-256\n" for cable in cables)
        stack.enter_context(server)
        nodes = []
        for place in places:
            broker = stack.enter_context(Proxy(valkey_url, host=place.address))
            database = make_url(server.url).set(host=place.address)
            options = {
                "database": database.render_as_string(hide_password=False),
                "broker": broker.url,
                "within": place.within,
            }
            nodes.append(Node(place, options))
        yield Site(server.url, tuple(nodes))
