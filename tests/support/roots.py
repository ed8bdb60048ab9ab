"""A root directory that a program takes for the whole file system: an image without an engine.

What is mounted in it is mounted for that one program, in a mount namespace of its own, and gone
with it. The program has the process id that was started, so signals reach it as in a container.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.servers import missing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Mounts pairs of paths below the root up to "--", then becomes the program.
_MOUNT = """
root=$1; shift
while [ "$1" != -- ]; do
    if [ -d "$2" ]; then mkdir -p "$root$3"; else mkdir -p "$(dirname "$root$3")"; : >>"$root$3"; fi
    mount $1 "$2" "$root$3"
    shift 3
done
shift
exec "$@"
"""
_AS_IT_IS, _TO_BE_READ = "--rbind", "-obind,ro"


@dataclass
class Root:
    """A root directory.

    Attributes:
        path: where it is.
        lent: what it has of this machine, to be read only, by its path there.
    """

    path: Path
    lent: dict[str, Path] = field(default_factory=dict)

    def command(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        *,
        user: int = 0,
        directory: str = "/",
    ) -> list[str]:
        """What starts a program in it, to be given to ``subprocess``."""
        mounts = [_AS_IT_IS, "/proc", "/proc", _AS_IT_IS, "/dev", "/dev"]
        for there, here in self.lent.items():
            mounts += [_TO_BE_READ, str(here), there]
        return [
            *("unshare", "--mount", "--propagation", "private", "sh", "-ec", _MOUNT, "sh"),
            *(str(self.path), *mounts, "--"),
            *("chroot", f"--userspec={user}:{user}", "--groups=", str(self.path)),
            *("env", "-i", f"--chdir={directory}"),
            *(f"{name}={value}" for name, value in environment.items()),
            *arguments,
        ]

    def run(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        *,
        user: int = 0,
        directory: str = "/",
        timeout: float = 120,
    ) -> tuple[int, str]:
        """Run a program in it to its end; its exit status and what it said."""
        done = subprocess.run(
            self.command(arguments, environment, user=user, directory=directory),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr


def need_roots() -> None:
    """Skip the test, or fail it, where nobody may have a root of his own."""
    for program in ("unshare", "chroot"):
        if shutil.which(program) is None:
            missing("chroot", f"there is no program {program}.")
    if os.geteuid() != 0:
        missing("chroot", "only root may have another root.")
    done = subprocess.run(
        ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        missing("chroot", f"nothing can be mounted here: {done.stderr.strip()}")


def borrowed(path: Path, python: Path) -> Root:
    """A root with the programs and libraries of this machine, and no directory of anybody's.

    Args:
        python: the directory of an installation of Python to go with it.
    """
    root = Root(path)
    # Whoever makes directories for tests lets nobody else in.
    path.chmod(0o755)
    for name in ("usr", "lib", "lib32", "lib64", "bin", "sbin"):
        here = Path("/") / name
        if here.is_symlink():
            (path / name).symlink_to(here.readlink())
        elif here.exists():
            root.lent[f"/{name}"] = here
    if not python.is_relative_to("/usr"):
        root.lent[str(python)] = python
    etc = path / "etc"
    etc.mkdir()
    for name in (
        "passwd",
        "group",
        "shadow",
        "login.defs",
        "nsswitch.conf",
        "ld.so.cache",
        "hosts",
    ):
        here = Path("/etc") / name
        if here.exists():
            shutil.copy2(here, etc / name)
    for name in ("tmp", "run", "srv", "opt"):
        (path / name).mkdir()
    (path / "tmp").chmod(0o1777)
    return root
