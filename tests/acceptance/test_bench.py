"""Whatever ``make bench`` measures finds what it says, over a hundredth of the rows."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
_SECONDS = 1_800


@pytest.mark.thorough
@pytest.mark.usefixtures("embedded")
def test_each_figure_has_a_value(tmp_path: Path) -> None:
    file = tmp_path / "out.json"
    options = ["--quick", "--pairs", "1", "--json", str(file)]
    done = subprocess.run(
        [sys.executable, "-m", "bench", *options],
        cwd=_ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-5_000:]
    results = json.loads(file.read_text("utf-8"))
    measured = [finding["name"] for finding in results["findings"]]
    assert measured
    for finding in results["findings"]:
        assert finding["figures"], finding["name"]
        for figure in finding["figures"]:
            told = f"{finding['name']}: {figure['name']}"
            assert figure["values"], told
            assert all(math.isfinite(value) for value in figure["values"]), told
    page = file.with_suffix(".md").read_text("utf-8")
    assert all(f"## {name}" in page for name in measured)
    pictures = [*tmp_path.glob("*.svg")]
    assert all(f"({picture.name})" in page for picture in pictures)
