"""One mutant, tried: a copy of the project without one guard, and the tests that must see it."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from tests.mutants.table import ROOT, Guard
from tests.mutants.witness import MODULE, REPORT
from tests.support.servers import RUNNING_POSTGRES
from tests.support.waiting import PATIENCE

#: Copied, not linked: a file that is linked would be found at its old place.
_COPIED = ("breakbulk", "tests", "pyproject.toml")
_MOST_SECONDS = 600
#: Raised by code that is broken, rather than by code that lacks a guard.
_CLUMSY = frozenset({"AttributeError", "ImportError", "NameError", "SyntaxError", "TypeError"})


class Verdict(StrEnum):
    """What became of a mutant."""

    KILLED = "killed"
    SURVIVED = "SURVIVED"
    #: Red, but not because the guard is missing.
    BROKEN = "BROKEN"


@dataclass(frozen=True, slots=True)
class Trial:
    """How one test took to the lack of one guard."""

    guard: Guard
    test: str
    verdict: Verdict
    seconds: float
    remark: str = ""

    def as_dict(self) -> dict[str, str | float]:
        """As JSON values."""
        return {
            "guard": self.guard.id,
            "test": self.test,
            "verdict": str(self.verdict),
            "seconds": round(self.seconds, 1),
            "remark": self.remark,
        }


@dataclass(frozen=True, slots=True)
class Part:
    """How the setup, the call or the teardown of one test ended."""

    test: str
    when: str
    outcome: str
    error: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Session:
    """What one pytest run said.

    Attributes:
        parts: of its tests: setup, call and teardown of each.
        seconds: how long it took.
        output: what it printed.
    """

    parts: tuple[Part, ...]
    seconds: float
    output: str

    def of(self, test: str) -> list[Part]:
        """The parts of a named test, or of all that it was parametrised to."""
        return [
            part for part in self.parts if part.test == test or part.test.startswith(f"{test}[")
        ]

    @property
    def red(self) -> list[str]:
        """Tests that did not pass in all of their parts."""
        return sorted({part.test for part in self.parts if part.outcome != "passed"})

    @property
    def slowest(self) -> float:
        """How long its slowest test took, in seconds."""
        return max((part.seconds for part in self.parts if part.when == "call"), default=0.0)


def try_without(guard: Guard, postgres: str, patience: float) -> list[Trial]:
    """Take a guard away, and see whether each of its tests turns red.

    Args:
        postgres: URL of a server on which the tests may create databases.
        patience: seconds that a test may wait for what will not come.

    Raises:
        Mismatch: the row does not fit the code.
    """
    changed = guard.mutated()
    with copy() as directory:
        _replace(directory / guard.file, changed)
        session = run(directory, guard.tests, guard.module, postgres, patience)
    trials = []
    for test in guard.tests:
        verdict, remark = judge(session, test)
        trials.append(Trial(guard, test, verdict, session.seconds / len(guard.tests), remark))
    return trials


@contextmanager
def copy() -> Iterator[Path]:
    """A copy of what tests need of the project."""
    with TemporaryDirectory(prefix="breakbulk-mutant-") as name:
        directory = Path(name).resolve()
        for entry in ROOT.iterdir():
            if entry.name in _COPIED:
                make = shutil.copytree if entry.is_dir() else shutil.copy2
                make(entry, directory / entry.name)
            elif not entry.name.startswith("."):
                (directory / entry.name).symlink_to(entry)
        yield directory


def run(
    directory: Path,
    tests: Sequence[str],
    module: str,
    postgres: str,
    patience: float | None = None,
) -> Session:
    """Run some tests of a copy.

    Args:
        module: has to be imported, and from the copy.
        postgres: URL of a server on which the tests may create databases.
        patience: seconds that a test may wait for anything; None: as long as it likes.
    """
    report = directory / f"report-{secrets.token_hex(4)}.json"
    # No server but the embedded ones: each would be one more of every test.
    own = ("BREAKBULK_TEST_", "BREAKBULK_REQUIRE")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    environment |= {
        "PYTHONPATH": str(directory),
        RUNNING_POSTGRES: postgres,
        REPORT: str(report),
        MODULE: module,
    }
    if patience is not None:
        environment[PATIENCE] = str(patience)
    began = time.monotonic()
    options = ["-p", "tests.mutants.witness", "-p", "no:cacheprovider", "-m", ""]
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-q", "--durations=0", *options, *tests],
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=_MOST_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        output, _ = process.communicate()
    finally:
        _end_all(str(report))
    parts = json.loads(report.read_text(encoding="utf-8")) if report.exists() else []
    return Session(tuple(Part(**part) for part in parts), time.monotonic() - began, output)


def judge(session: Session, test: str) -> tuple[Verdict, str]:
    """What a session says of the mutant, by one test; and why, if it is broken."""
    parts = session.of(test)
    red = [part for part in parts if part.outcome == "failed"]
    if not parts or (not red and any(part.outcome == "skipped" for part in parts)):
        return Verdict.BROKEN, _last_line(session.output) or "it did not come to its end"
    if not red:
        return Verdict.SURVIVED, ""
    for part in red:
        if part.when == "call" and part.error not in _CLUMSY:
            return Verdict.KILLED, ""
    return Verdict.BROKEN, f"{red[0].error} in {red[0].when}"


def _end_all(report: str) -> None:
    """End what a session has left behind: some guards are those that would have ended it."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get(REPORT) == report:
                for one in (*process.children(recursive=True), process):
                    one.kill()


def _replace(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    # What was compiled before could be taken for what is to be compiled now.
    for compiled in path.parent.glob(f"__pycache__/{path.stem}.*.pyc"):
        compiled.unlink()


def _last_line(output: str) -> str:
    lines = [line for line in output.splitlines() if line.strip()]
    return lines[-1] if lines else ""
