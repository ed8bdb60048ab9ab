"""The table of mutants fits the code: each guard is where it says, and each test is there."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from tests.mutants import table
from tests.mutants.__main__ import main
from tests.mutants.table import Guard, Mismatch
from tests.mutants.trial import Part, Session, Verdict, judge, try_without

if TYPE_CHECKING:
    from pathlib import Path

GUARDS = table.guards()


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.id)
def test_a_guard_is_where_the_table_says(guard: Guard) -> None:
    assert guard.mutated() != (table.ROOT / guard.file).read_text(encoding="utf-8")
    assert guard.tests


def test_no_mutant_is_red_for_a_name_that_is_not_there(tmp_path: Path) -> None:
    """That would be a mistake in the table, and not the lack of a guard."""
    for guard in GUARDS:
        (tmp_path / f"{guard.id}.py").write_text(guard.mutated(), encoding="utf-8")
    ruff = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "E9,F821,F823"]
    done = subprocess.run(
        [*ruff, str(tmp_path)], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_named_test_is_there() -> None:
    assert table.missing_tests() == []


def test_an_id_is_one_guards_own() -> None:
    assert [one for one, times in Counter(guard.id for guard in GUARDS).items() if times > 1] == []


def test_every_invariant_has_guards_and_every_guard_an_invariant() -> None:
    kept = {number for guard in GUARDS for number in guard.keeps}
    assert kept == {one.number for one in table.invariants()} == set(range(1, 11))


def test_every_defect_has_a_cure_or_says_why_it_has_no_text() -> None:
    ids = {guard.id for guard in GUARDS}
    for defect in table.defects():
        assert set(defect.guards) <= ids, defect.seen
        assert bool(defect.guards) != bool(defect.because), defect.seen
        assert defect.guards or defect.tests, defect.seen


@pytest.mark.parametrize(("old", "times"), [("import os\n", 0), ("e = 1\n", 2)])
def test_a_text_that_is_not_there_once_is_told_in_one_sentence(
    tmp_path: Path, old: str, times: int
) -> None:
    (tmp_path / "code.py").write_text("import sys\ne = 1\ne = 1\n")
    guard = Guard("some-guard", "", "", (1,), "code.py", old, "", ("a test",))
    words = rf"^The text of the guard some-guard is in code\.py {times} times, not once: say in"
    with pytest.raises(Mismatch, match=words):
        guard.mutated(tmp_path)


def test_what_is_no_python_any_more_is_told_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text("if True:\n    pass\n")
    guard = Guard("some-guard", "", "", (1,), "code.py", "    pass\n", "", ("a test",))
    with pytest.raises(Mismatch, match=r"Without the guard some-guard code\.py is no Python any"):
        guard.mutated(tmp_path)


def part(when: str, outcome: str, error: str = "", test: str = "test_x[a]") -> Part:
    return Part(f"t.py::{test}", when, outcome, error)


@pytest.mark.parametrize(
    ("parts", "verdict"),
    [
        ([part("call", "passed")], Verdict.SURVIVED),
        ([part("call", "failed", "AssertionError")], Verdict.KILLED),
        ([part("call", "passed"), part("call", "failed", "Failed", "test_x[b]")], Verdict.KILLED),
        ([part("call", "failed", "IntegrityError")], Verdict.KILLED),
        ([part("call", "failed", "NameError")], Verdict.BROKEN),
        ([part("call", "failed", "TypeError")], Verdict.BROKEN),
        ([part("setup", "failed", "AssertionError")], Verdict.BROKEN),
        ([part("setup", "skipped", "Skipped")], Verdict.BROKEN),
        ([part("call", "failed", "AssertionError", "test_xy")], Verdict.BROKEN),
        ([], Verdict.BROKEN),
    ],
)
def test_only_a_red_test_kills_and_not_a_broken_one(parts: list[Part], verdict: Verdict) -> None:
    assert judge(Session(tuple(parts), 1.0, "what pytest said"), "t.py::test_x")[0] is verdict


PACING = "tests/unit/runner/test_pacing.py"
HOARDING = f"{PACING}::test_nobody_hoards_before_the_pace_is_known"


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("old", "new", "test", "verdict"),
    [
        ("return 1\n", "return 2\n", HOARDING, Verdict.KILLED),
        (
            "return 1\n",
            "return 2\n",
            f"{PACING}::test_the_pace_follows_what_is_seen",
            Verdict.SURVIVED,
        ),
        ("return 1\n", "return nowhere\n", HOARDING, Verdict.BROKEN),
        ("_WEIGHT = 0.3\n", "_WEIGHT = nowhere\n", HOARDING, Verdict.BROKEN),
    ],
    ids=["red", "green", "clumsy", "not importable"],
)
def test_a_mutant_is_tried_in_a_copy(old: str, new: str, test: str, verdict: Verdict) -> None:
    file = table.ROOT / "breakbulk/runner/pacing.py"
    before = file.read_text(encoding="utf-8")
    guard = Guard("pace", "", "", (7,), "breakbulk/runner/pacing.py", old, new, (test,))
    (trial,) = try_without(guard, postgres="", patience=15)
    assert (trial.verdict, trial.test) == (verdict, test), trial.remark
    assert file.read_text(encoding="utf-8") == before


def test_a_word_that_is_in_no_id_is_told_in_one_sentence() -> None:
    done = CliRunner().invoke(main, ["--only", "nothing-like-it"])
    assert (done.exit_code, done.stderr) == (1, "No guard has nothing-like-it in its id.\n")
