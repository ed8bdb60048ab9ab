"""Whatever can be measured is measured by a target of make."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).parents[3]
_COMMAND = re.compile(r"^\t@\$\(BIN\)/python -m bench\b(.*)$", re.MULTILINE)
_ASK = (
    "import json; from bench.__main__ import MEASUREMENTS, NAMED;"
    " print(json.dumps([*MEASUREMENTS])); print(json.dumps(NAMED))"
)


def test_every_measurement_is_made_by_a_target() -> None:
    """Asked in a process of its own, because the benchmark's application declares jobs."""
    done = subprocess.run(
        [sys.executable, "-c", _ASK],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    known, only_named = (set(json.loads(line)) for line in done.stdout.splitlines())
    commands = _COMMAND.findall((_ROOT / "Makefile").read_text("utf-8"))
    given = [re.findall(r"[a-z]+", re.split(r"--|\$", one)[0]) for one in commands]
    assert [] in given, "a target for what need not be named"
    named = {name for one in given for name in one} - {"peers", "faults"}
    assert only_named <= named <= known
