"""When memory counts as short: by the container's limit, and by the machine's."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import psutil
import pytest

from breakbulk.runner.memory import shortage

if TYPE_CHECKING:
    from pathlib import Path


def group(path: Path, *, most: str, used: int, files: int = 0) -> Path:
    (path / "memory.max").write_text(f"{most}\n")
    (path / "memory.current").write_text(f"{used}\n")
    (path / "memory.stat").write_text(f"anon 5\ninactive_file {files}\n")
    return path


@pytest.fixture(autouse=True)
def roomy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=50, total=100))


def test_a_container_that_is_full_is_short(tmp_path: Path) -> None:
    assert shortage(group(tmp_path, most="1000", used=970)) == (
        "3% of the container's memory is left"
    )
    assert shortage(group(tmp_path, most="1000", used=940)) is None


def test_what_files_have_in_memory_goes_when_it_is_needed(tmp_path: Path) -> None:
    assert shortage(group(tmp_path, most="1000", used=990, files=500)) is None


def test_without_a_limit_the_machine_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shortage(group(tmp_path, most="max", used=990)) is None
    assert shortage(tmp_path / "none") is None
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=2, total=100))
    assert shortage(tmp_path / "none") == "2% of the machine's memory is left"
