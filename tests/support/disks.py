"""A disk of its own for one test, so small that it can be filled."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from breakbulk.embedded import scratch_directory
from tests.support.servers import missing

if TYPE_CHECKING:
    from collections.abc import Iterator

_BALLAST = "ballast"


class Disk:
    """A file system in memory."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def fill(self) -> None:
        """Leave not a byte of it."""
        with (self.path / _BALLAST).open("ab", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                return

    def clear(self) -> None:
        """Give it back."""
        (self.path / _BALLAST).unlink()


@contextmanager
def small_disk(megabytes: int) -> Iterator[Disk]:
    """Mount one; skip the test, or fail it, where nobody may."""
    if os.geteuid() != 0:
        missing("tmpfs", "only root may mount a file system of its own.")
    with scratch_directory("breakbulk-disk-") as home:
        path = Path(home) / "disk"
        path.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=777", "tmpfs", str(path)]
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
        if done.returncode:
            missing("tmpfs", f"mount says: {done.stderr.strip()}")
        try:
            yield Disk(path)
        finally:
            # Lazily: whoever still has a file open there keeps nobody waiting.
            subprocess.run(["umount", "--lazy", str(path)], check=True)
