"""What a killed demo left on disk goes with the next one."""

from __future__ import annotations

from pathlib import Path

import pytest

from breakbulk.demo.leftovers import PREFIX, claimed, reserved, sweep
from breakbulk.errors import ConfigurationError


def test_directories_of_the_dead_go_and_others_stay(tmp_path: Path) -> None:
    dead, alive, young, foreign = (
        tmp_path / name for name in (f"{PREFIX}1", f"{PREFIX}2", f"{PREFIX}3", "shop")
    )
    for directory in (dead, alive, young, foreign):
        directory.mkdir()
        (directory / "data").touch()
    with claimed(dead):
        pass
    with claimed(foreign):
        pass
    with claimed(alive):
        sweep(tmp_path)
        assert not dead.exists()
        assert (alive / "data").exists()
        assert (young / "data").exists()  # not claimed yet
        assert (foreign / "data").exists()


def test_a_kept_directory_is_for_one_demo_at_a_time(tmp_path: Path) -> None:
    with (
        reserved(tmp_path),
        pytest.raises(ConfigurationError, match="Another demo is using"),
        reserved(tmp_path),
    ):
        pass
    with reserved(tmp_path):
        pass
