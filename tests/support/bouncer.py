"""A PgBouncer of a test's own, in front of a PostgreSQL: each transaction gets another session."""

from __future__ import annotations

import os
import shutil
import signal
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import psycopg
from sqlalchemy import URL, make_url

from breakbulk.embedded import scratch_directory
from breakbulk.embedded.account import unprivileged_account
from breakbulk.embedded.process import LOOPBACK, ServerProcess, start_on_port
from tests.support.servers import missing

if TYPE_CHECKING:
    from collections.abc import Iterator

_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"


@contextmanager
def bouncer(url: str, *, sessions: int, mode: str = "transaction") -> Iterator[str]:
    """Yield the URL of a database behind a PgBouncer.

    Args:
        url: of the database itself.
        sessions: how many its clients share.
        mode: how long a client keeps one: for a ``transaction``, or for its own ``session``.
    """
    program = shutil.which("pgbouncer", path=_PATH)
    if program is None:
        missing("pgbouncer", "it is not installed: apt-get install pgbouncer.")
    server = make_url(url)
    with scratch_directory("breakbulk-pgbouncer-") as home:

        def launch(port: int) -> ServerProcess:
            file = home / f"{port}.ini"
            file.write_text(_settings(server, port, sessions, mode), encoding="utf-8")
            process = ServerProcess(
                "PgBouncer",
                [program, str(file)],
                log=home / "pgbouncer.log",
                account=unprivileged_account(),
                fast=signal.SIGINT,
                immediate=signal.SIGTERM,
            )
            process.wait_until(lambda: _answers(server.set(host=LOOPBACK, port=port)))
            return process

        process, port = start_on_port(None, launch)
        try:
            yield server.set(host=LOOPBACK, port=port).render_as_string(hide_password=False)
        finally:
            process.stop("immediate")


def _settings(server: URL, port: int, sessions: int, mode: str) -> str:
    return f"""
[databases]
* = host={server.host} port={server.port} user={server.username} password={server.password}

[pgbouncer]
listen_addr = {LOOPBACK}
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
default_pool_size = {sessions}
max_client_conn = 500
"""


def _answers(url: URL) -> bool:
    plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
    with suppress(psycopg.OperationalError), psycopg.connect(plain, connect_timeout=5):
        return True
    return False
