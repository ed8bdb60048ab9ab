"""What there is to try from another terminal while the demo runs."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

from sqlalchemy import URL, make_url

from breakbulk.demo.servers import Servers


def hints(file: Path, servers: Servers, worker: int, shop: str) -> str:
    """Return the hints, in lines.

    Args:
        file: the shop's ``.ini``.
        worker: process id of one that may be killed.
        shop: the link to its page.
    """
    look = f"{_program()} -A {shlex.quote(str(file))}"
    return "\n".join(
        [
            "In a browser you can",
            f"  see the shop:       {shop}",
            "In another terminal you can",
            f"  look on:            {look} runs",
            f"  kill a worker:      kill -9 {worker}",
            f"  look into the data: {_shell(servers)}",
            f"  see the broker:     {servers.broker_shown}",
        ]
    )


def _program() -> str:
    """How this program is called where its environment may not be active."""
    called = Path(sys.argv[0])
    if called.name != "breakbulk":
        return f"{shlex.quote(sys.executable)} -m breakbulk"
    found = shutil.which("breakbulk")
    same = found is not None and Path(found).absolute() == called.absolute()
    return "breakbulk" if same else shlex.quote(str(called.absolute()))


def _shell(servers: Servers) -> str:
    url = make_url(servers.database)
    if url.get_backend_name() == "sqlite":
        return f"sqlite3 {shlex.quote(str(url.database))}"
    # Who has given us a database has its password elsewhere, too.
    password = str(url.password) if servers.postgres else None
    plain = URL.create(
        "postgresql", url.username, password, url.host, url.port, url.database, url.query
    )
    return f"psql {shlex.quote(plain.render_as_string(hide_password=False))}"
