"""What is in the repository is right on every machine, not only on its author's."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_holds_no_links() -> None:
    """A link that somebody made to a folder of theirs points nowhere in a clone."""
    try:
        listing = subprocess.run(
            ["git", "ls-files", "--stage"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this is no checkout of git")
    assert listing
    assert [line for line in listing.splitlines() if line.startswith("120000")] == []
