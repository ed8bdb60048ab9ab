"""The demo as people install it: from a wheel, far from any checkout."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import pytest

from breakbulk.embedded import scratch_directory
from tests.support.closure import closure, lend

_ROOT = Path(__file__).parents[2]
_PIP = ("-m", "pip", "--quiet", "--disable-pip-version-check")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of the checkout."""
    directory = tmp_path_factory.mktemp("wheel")
    _run(*_PIP, "wheel", "--no-deps", "--no-build-isolation", "-w", str(directory), str(_ROOT))
    (built,) = directory.glob("*.whl")
    return built


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory that the embedded servers can use, also when the tests run as root."""
    with scratch_directory("breakbulk-tests-") as path:
        yield path


@pytest.mark.thorough
@pytest.mark.usefixtures("embedded")
def test_the_demo_of_an_installed_wheel(wheel: Path, directory: Path) -> None:
    environment = directory / "environment"
    _run("-m", "venv", "--without-pip", str(environment))
    python = environment / "bin" / "python"
    _run(*_PIP, "--python", str(python), "install", "--no-deps", "--no-index", str(wheel))
    # What it depends on is what the tests run on, but no more than its extra brings along.
    (site,) = environment.glob("lib/python*/site-packages")
    brought = closure("breakbulk[demo]")
    lend({name: one for name, one in brought.items() if name != "breakbulk"}, site)
    elsewhere = directory / "elsewhere"
    elsewhere.mkdir()

    def installed(*command: str) -> str:
        return _run(*command, program=python, cwd=elsewhere, TMPDIR=str(directory))

    nowhere = (
        "import importlib.util; print(*map(importlib.util.find_spec, ['pytest', 'hypothesis']))"
    )
    assert installed("-c", nowhere).split() == ["None", "None"], "it has nothing of the tests"
    where = installed("-c", "import breakbulk; print(breakbulk.__file__)")
    assert Path(where.strip()).is_relative_to(environment)
    shown = installed(str(environment / "bin" / "breakbulk"), "demo", "--rows", "3000", "--once")
    assert "3,000 rows in 6 chunks" in shown
    assert shown.splitlines()[-2] == "Each product was processed exactly once."
    assert not list(elsewhere.iterdir())


def test_a_wheel_holds_all_and_nothing_else(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    files = (path for path in (_ROOT / "breakbulk").rglob("*") if path.is_file())
    ours = (path for path in files if "__pycache__" not in path.parts)
    assert names == {str(path.relative_to(_ROOT)) for path in ours}


def _run(*command: str, program: Path | None = None, cwd: Path | None = None, **more: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(program or sys.executable), *command],
        cwd=cwd,
        env=environment | more,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
