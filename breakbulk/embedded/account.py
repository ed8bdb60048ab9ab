"""Whom an embedded server runs as, and what that account can reach.

PostgreSQL refuses to run as root. When we are root, it runs as ``nobody``: an account that is
on every system already, where the wheel's own start-up code would create one and open the
directories up to the root of the file system for everybody. Whatever ``nobody`` cannot reach
(a virtual environment or a data directory under ``/root``) has to lie elsewhere instead.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from breakbulk.errors import EmbeddedError

if TYPE_CHECKING:
    from collections.abc import Iterator

_NAMES = ("nobody", "daemon")
_TEMPORARY = ("/tmp", "/var/tmp")  # noqa: S108  (only ever the parent of a mkdtemp directory)
_KEPT = "/var/tmp"  # noqa: S108  (likewise; unlike /tmp it outlives a reboot)


class Account(NamedTuple):
    """An unprivileged account of the operating system."""

    name: str
    uid: int
    gid: int

    def succeeds(self, *command: str) -> bool:
        """Whether this account can run ``command``, with exit status 0.

        Tried for real, because modes alone do not tell (access lists, ``noexec`` mounts).
        """
        try:
            done = subprocess.run(
                command,
                cwd="/",
                stdin=subprocess.DEVNULL,
                capture_output=True,
                user=self.uid,
                group=self.gid,
                extra_groups=[],
                check=False,
            )
        except OSError:
            return False
        return done.returncode == 0

    def enters(self, directory: Path) -> bool:
        """Whether this account can enter ``directory``, which exists."""
        return self.succeeds("/bin/sh", "-c", 'cd -- "$0"', str(directory))


def unprivileged_account() -> Account | None:
    """Return the account to step down to, or None when we are not root anyway.

    Raises:
        EmbeddedError: we are root and the system has no such account.
    """
    if os.geteuid() != 0:
        return None
    for name in _NAMES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    message = (
        "PostgreSQL does not run as root and there is no account 'nobody' to run it as: "
        "start Breakbulk as an ordinary user."
    )
    raise EmbeddedError(message)


@contextmanager
def scratch_directory(prefix: str = "breakbulk-") -> Iterator[Path]:
    """Yield a new directory that embedded servers can use, also as root; remove it at the end.

    Others can pass through it (not list it), unlike ``tempfile.mkdtemp()``'s: as root the
    server is one of the others. The servers keep their own directories shut.
    """
    account = unprivileged_account()
    parents = [Path(tempfile.gettempdir()), *map(Path, _TEMPORARY)]
    parent = next((p for p in parents if account is None or account.enters(p)), parents[0])
    path = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    path.chmod(0o711)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def reachable(directory: Path, account: Account | None) -> Path:
    """Create ``directory`` and return it, or one in its stead that ``account`` can enter.

    The stand-in is made under ``/var/tmp``, and a symbolic link ``elsewhere`` in ``directory``
    leads to it the next time; whoever deletes the one should delete the other.

    Raises:
        EmbeddedError: the stand-in of last time is gone.
    """
    if not directory.exists():
        directory.mkdir(parents=True)
        directory.chmod(0o711 if account else 0o700)
    if account is None or account.enters(directory):
        return directory
    link = directory / "elsewhere"
    if not link.is_symlink():
        made = Path(tempfile.mkdtemp(prefix="breakbulk-", dir=_KEPT))
        made.chmod(0o711)
        link.symlink_to(made)
    if not link.exists():
        message = f"The data of {directory} lay in {link.readlink()}, which is gone: delete {link}."
        raise EmbeddedError(message)
    return link.resolve()
