"""What pytest saw of a mutant, written down for whoever started it: ``-p tests.mutants.witness``.

It makes sure that the copy is what was tested, and that it can be imported at all.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

REPORT = "BREAKBULK_MUTANT_REPORT"
MODULE = "BREAKBULK_MUTANT_MODULE"
_KIND = "mutant error"

_seen: list[dict[str, str | float]] = []


def pytest_sessionstart() -> None:
    """Import what is to be tested.

    Raises:
        pytest.UsageError: it cannot be imported, or it comes from elsewhere.
    """
    try:
        module = importlib.import_module(os.environ[MODULE])
    except Exception as error:
        raise pytest.UsageError(f"cannot be imported: {error!r}") from error
    if module.__file__ is None or not Path(module.__file__).is_relative_to(Path.cwd()):
        raise pytest.UsageError(f"not the copy, but {module.__file__} would be tested")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    call: pytest.CallInfo[None],
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note what was raised."""
    report = yield
    if call.excinfo is not None:
        report.user_properties.append((_KIND, call.excinfo.typename))
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note how a part of a test ended."""
    kinds = dict(report.user_properties)
    _seen.append(
        {
            "test": report.nodeid,
            "when": report.when,
            "outcome": report.outcome,
            "error": str(kinds.get(_KIND, "")),
            "seconds": report.duration,
        }
    )


def pytest_sessionfinish() -> None:
    """Write it down."""
    Path(os.environ[REPORT]).write_text(json.dumps(_seen), encoding="utf-8")


def pytest_unconfigure() -> None:
    """End now: a mutant may have left threads behind that never end."""
    sys.stdout.flush()
    os._exit(0)
