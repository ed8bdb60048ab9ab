"""What workers are forked from has nothing that they would share."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support import nursery

_ROOT = Path(__file__).parents[2]
_ASK = f"""
import sys
from importlib import import_module
for name in {nursery._IMPORTED!r}:
    import_module(name)
print(sorted(name for name in sys.modules if name.partition(".")[0] == "breakbulk"))
"""


def test_nothing_of_the_package_is_imported_before_the_fork() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _ASK], cwd=_ROOT, capture_output=True, text=True, check=True
    )
    # Celery asks installed packages for verbs; ours names only where they are.
    assert "breakbulk.worker" not in done.stdout
    assert "breakbulk.runner" not in done.stdout
