"""What importing one room of the house pulls in."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import breakbulk

_ROOT = Path(__file__).parents[2]
_HEAVY = ("celery", "kombu", "sqlalchemy", "alembic", "click", "rich", "psutil", "psycopg")


def pulled_in(statement: str) -> set[str]:
    program = f"{statement}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=_ROOT, capture_output=True, text=True, check=True
    )
    return {name.partition(".")[0] for name in done.stdout.split()}


@pytest.mark.parametrize(
    "statement",
    [
        "import breakbulk",
        "import breakbulk.domain.status, breakbulk.domain.keys, breakbulk.domain.progress",
        "import breakbulk.settings, breakbulk.errors",
        "from breakbulk import RunStatus, ChunkStatus, Settings, Snooze, CancelRun, Progress",
    ],
)
def test_plain_python_stays_plain(statement: str) -> None:
    assert not pulled_in(statement) & set(_HEAVY)


@pytest.mark.parametrize(
    "statement",
    ["import breakbulk.ledger", "import breakbulk.runner.work", "import breakbulk.jobs"],
)
def test_the_core_knows_no_celery(statement: str) -> None:
    assert not pulled_in(statement) & {"celery", "kombu", "click", "rich", "pyramid"}


@pytest.mark.parametrize(
    "statement", ["from breakbulk import includeme", "import breakbulk.worker, breakbulk.cli"]
)
def test_nobody_needs_pyramid(statement: str) -> None:
    assert not pulled_in(statement) & {"pyramid", "webob", "zope", "transaction", "plaster"}


def test_only_an_upgrade_needs_alembic(sqlite_url: str) -> None:
    """It tells the log of each of its plugins, and every worker and web process would hear it."""
    working = f"""
from celery import Celery
from breakbulk import Breakbulk
bulk = Breakbulk({sqlite_url!r}, celery=Celery("shop"))
"""
    assert "alembic" in pulled_in(f"{working}bulk.upgrade()")
    assert "alembic" not in pulled_in(f"{working}bulk.runs()")


@pytest.mark.parametrize("name", breakbulk.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(breakbulk, name).__name__ == name
    assert name in dir(breakbulk)


def test_public_names_are_those_that_type_checkers_see() -> None:
    assert set(breakbulk.__all__) == set(breakbulk._HOMES)
    listed = Path(breakbulk.__file__).read_text().partition("if TYPE_CHECKING:")[2]
    assert all(f" {name}" in listed.partition("_HOMES")[0] for name in breakbulk.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nowhere'"):
        breakbulk.nowhere  # noqa: B018


def imports(path: Path) -> set[str]:
    """Every module that a file imports, or takes a name from, wherever it does so."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_of_opentelemetry_only_the_api_is_used() -> None:
    """The SDK is the application's choice, and so is whether there is one."""
    used = {
        name
        for path in (_ROOT / "breakbulk").rglob("*.py")
        for name in imports(path)
        if name.split(".")[0] == "opentelemetry"
    }
    assert used
    assert {name.split(".")[1] for name in used} <= {"context", "trace"}
