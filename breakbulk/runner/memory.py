"""Whether memory runs short where this process works."""

from __future__ import annotations

from pathlib import Path

import psutil

#: Part of the machine's memory, or of the container's, that is to stay free.
_FREE = 0.05
#: Where a container sees its own limit (cgroup v2).
_GROUP = Path("/sys/fs/cgroup")


def shortage(group: Path = _GROUP) -> str | None:
    """How little memory is left, in words; None while there is enough.

    Args:
        group: where the container's limits are, if it has any.
    """
    free = _free_in_group(group)
    if free is not None and free < _FREE:
        return f"{max(free, 0):.0%} of the container's memory is left"
    machine = psutil.virtual_memory()
    free = machine.available / machine.total
    return f"{free:.0%} of the machine's memory is left" if free < _FREE else None


def _free_in_group(group: Path) -> float | None:
    """Part of the limit that is left; what files have in memory goes when it is needed."""
    try:
        most = int((group / "memory.max").read_text("ascii"))
        used = int((group / "memory.current").read_text("ascii"))
        lines = (group / "memory.stat").read_text("ascii").splitlines()
    except (OSError, ValueError):
        # No limit, or none that can be seen.
        return None
    files = sum(int(line.split()[1]) for line in lines if line.startswith("inactive_file "))
    return 1 - (used - files) / most if most > 0 else None
