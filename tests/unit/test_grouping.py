"""Tests that share something run in one process, whichever others run beside them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.grouping import group_of

_ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("test", "group"),
    [
        (
            "tests/acceptance/test_matrix.py::test_a_run_succeeds[postgres-redis-False-solo]",
            "redis",
        ),
        ("tests/integration/test_fixtures.py::test_a_broker[redis]", "redis"),
        ("tests/unit/web/test_words.py::test_words[rediscovered]", None),
        ("tests/outside/test_chords.py::test_order[ours]", "outside"),
        ("tests/acceptance/test_image.py::test_the_image_lets_nobody_change_it", "an image"),
        ("tests/acceptance/test_wheel.py::test_the_demo_of_an_installed_wheel", "a wheel"),
        (
            "tests/acceptance/test_demo.py::TestProofs::test_the_right_one_names_it[widened]",
            "a finished demo",
        ),
        ("tests/acceptance/test_demo.py::test_json_tells_everything", "a finished demo"),
        ("tests/acceptance/test_demo.py::TestProofs::test_a_demo_that_is_not_proven_exits_1", None),
    ],
)
def test_what_a_name_says(test: str, group: str | None) -> None:
    assert group_of(test) == group


def test_a_group_is_kept_together(tmp_path: Path) -> None:
    """Also by the versions of pytest and xdist that are here."""
    printed = _run(
        tmp_path, "number, broker", "[(n, b) for n in range(6) for b in ('redis', 'amqp')]"
    )
    assert len(printed) == 12
    assert len({worker for worker, _, broker in printed if broker == "redis"}) == 1


def test_one_process_begins_at_the_end(tmp_path: Path) -> None:
    printed = _run(tmp_path, "number, kind", "[(n, 'any') for n in range(12)]")
    first, second = (
        [int(number) for worker, number, _ in printed if worker == name] for name in ("gw0", "gw1")
    )
    assert (first[0], second[0]) == (0, 11)
    assert sorted(first) == first
    assert sorted(second, reverse=True) == second


def _run(path: Path, names: str, values: str) -> list[list[str]]:
    """Who ran which test, in two processes."""
    (path / "test_it.py").write_text(
        "import pytest\n"
        f"@pytest.mark.parametrize('{names}', {values})\n"
        f"def test_it({names}, worker_id): print(f'<', worker_id, {names}, '>')\n"
    )
    (path / "conftest.py").write_text(
        "from tests.support.grouping import pytest_xdist_make_scheduler\n"
    )
    options = ["-p", "no:cacheprovider", "-c", "none.ini", "-n", "2", "--dist=loadgroup", "-rP"]
    (path / "none.ini").write_text("[pytest]\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options],
        cwd=path,
        env={"PYTHONPATH": str(_ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    return [line.strip("<> ").split() for line in done.stdout.splitlines() if line[:1] == "<"]
