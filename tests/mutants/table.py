"""The guards that keep the invariants, and how each is taken away.

Each is a row in one of the ``*.toml`` files beside this one::

    [[guard]]
    id = "fence-token"  # a name for --only
    guard = "…"  # the guard, in half a sentence
    without = "…"  # what happens without it
    keeps = [2, 3]  # the invariants that need it
    file = "breakbulk/ledger/chunks.py"
    old = '''…'''  # the text in that file, there exactly once
    new = '''…'''  # what stands there in the mutant
    tests = ["tests/….py::test_…"]  # each of them must turn red

What is promised, and what was seen to go wrong before there was a guard, is in ``proofs.toml``. All
of it together is ``docs/explanation/proofs.md``.
"""

from __future__ import annotations

import ast
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

HOME = Path(__file__).parent
ROOT = HOME.parents[1]
_PROOFS = HOME / "proofs.toml"


class Mismatch(Exception):
    """A row that does not fit the code any more; one sentence."""


@dataclass(frozen=True, slots=True)
class Guard:
    """One guard, and the text whose removal is its mutant."""

    id: str
    guard: str
    without: str
    keeps: tuple[int, ...]
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def mutated(self, root: Path = ROOT) -> str:
        """The file's text without the guard.

        Raises:
            Mismatch: the text is not there exactly once, or what remains is no Python.
        """
        text = (root / self.file).read_text(encoding="utf-8")
        found = text.count(self.old)
        if found != 1:
            raise Mismatch(
                f"The text of the guard {self.id} is in {self.file} {found} times, not once:"
                f" say in tests/mutants where the guard is now."
            )
        changed = text.replace(self.old, self.new)
        try:
            ast.parse(changed)
        except SyntaxError as error:
            raise Mismatch(
                f"Without the guard {self.id} {self.file} is no Python any more"
                f" (line {error.lineno}: {error.msg}): mend its new text in tests/mutants."
            ) from error
        return changed

    @property
    def module(self) -> str:
        """The mutated module, as it is imported."""
        return self.file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


@dataclass(frozen=True, slots=True)
class Invariant:
    """What is promised."""

    number: int
    name: str
    says: str


@dataclass(frozen=True, slots=True)
class Defect:
    """What was seen to go wrong, and what cures it.

    Attributes:
        seen: what happened, in one sentence.
        guards: the cures; their tests turn red without them.
        tests: others that do the same, or all there are where no piece of text is the cure.
        because: why there is no such text.
    """

    seen: str
    guards: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()
    because: str = ""


@cache
def guards() -> tuple[Guard, ...]:
    """All guards, file by file."""
    files = (path for path in sorted(HOME.glob("*.toml")) if path != _PROOFS)
    return tuple(Guard(**row) for path in files for row in _rows(path, "guard"))


@cache
def invariants() -> tuple[Invariant, ...]:
    """All that is promised."""
    return tuple(Invariant(**row) for row in _rows(_PROOFS, "invariant"))


@cache
def defects() -> tuple[Defect, ...]:
    """All defects that were seen."""
    return tuple(Defect(**row) for row in _rows(_PROOFS, "defect"))


def missing_tests(root: Path = ROOT) -> list[str]:
    """Named tests that are not there."""
    named = {test for guard in guards() for test in guard.tests}
    named |= {test for defect in defects() for test in defect.tests}
    return sorted(test for test in named if not _exists(root, test))


def _rows(path: Path, kind: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = tomllib.loads(path.read_text(encoding="utf-8"))[kind]
    return [{key: _frozen(value) for key, value in row.items()} for row in found]


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _exists(root: Path, test: str) -> bool:
    file, _, name = test.partition("::")
    path = root / file
    return path.is_file() and name.partition("[")[0] in _functions(path)


@cache
def _functions(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))
