"""Failpoints cost production nothing, because there are none in it."""

from __future__ import annotations

import marshal
import re
from pathlib import Path

import breakbulk
from tests.support import failpoints

_WINDOWS = ("after carve", "before work", "before commit", "after commit", "after finish")
_SOURCES = {path: path.read_text("utf-8") for path in Path(breakbulk.__path__[0]).rglob("*.py")}


def compiled(source: str, path: Path) -> bytes:
    return marshal.dumps(compile(source, path, "exec", dont_inherit=True))


def test_the_package_runs_the_same_without_them() -> None:
    marked = {path: source for path, source in _SOURCES.items() if "failpoint" in source}
    assert marked
    for path, source in marked.items():
        assert compiled(source, path) == compiled(re.sub(r"#.*failpoint.*", "", source), path)
        assert b"failpoint" not in compiled(source, path)


def test_the_windows_of_a_lane_are_there_once_each() -> None:
    named = failpoints.names()
    assert set(_WINDOWS) <= set(named)
    assert len(named) == len(set(named))


def test_where_they_are_armed_they_are_called() -> None:
    for path, source in _SOURCES.items():
        armed = compile(failpoints.armed(source), path, "exec", dont_inherit=True)
        assert ("# failpoint: " in source) == (b"failpoints" in marshal.dumps(armed))
