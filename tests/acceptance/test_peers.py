"""The benchmark against others, end to end, over five chunks.

Those whose packages are not installed are skipped: pip install -e '.[peers]'.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bench.peers import page, roster
from breakbulk.embedded import EmbeddedValkey, scratch_directory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support import servers

_ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.thorough


@pytest.fixture(scope="module")
def results(test_servers: servers.Servers) -> Iterator[dict[str, Any]]:
    """What came of it, with a broker that nobody else empties."""
    with scratch_directory("breakbulk-peers-") as home, EmbeddedValkey(home / "valkey") as valkey:
        file = home / "peers.json"
        subprocess.run(
            [sys.executable, "-m", "bench", "peers", "--quick", "--json", str(file)],
            cwd=_ROOT,
            env={
                **os.environ,
                "BREAKBULK_BENCH_POSTGRES": test_servers.postgres,
                "BREAKBULK_BENCH_REDIS": valkey.url,
            },
            check=True,
            timeout=1800,
        )
        found: dict[str, Any] = json.loads(file.read_text("utf-8"))
        assert file.with_suffix(".md").read_text("utf-8") == page.markdown(found, "peers")
        assert {one.name for one in home.glob("*.svg")} == set(page.pictures(found, "peers"))
        yield found


@pytest.mark.parametrize("name", roster.NAMES)
def test_a_contestant_does_every_row_once(results: dict[str, Any], name: str) -> None:
    if (package := roster.missing(name)) is not None:
        pytest.skip(f"{package} is not installed: pip install -e '.[peers]'")
    runs = [run for run in results["runs"] if run["contestant"] == name]
    assert {run["wrong"] for run in runs} == {""}
    assert {run["function"] for run in runs} == (
        {"score"} if name in {roster.LOOP, roster.OFFSET} else {"score", "nothing"}
    )
    assert all(run["seconds"] > 0 and run["workers"] > 0 for run in runs)
