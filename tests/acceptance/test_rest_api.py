"""The examples of the documentation, as they stand there, against ``breakbulk serve``."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROOT = Path(__file__).parents[2]
_PAGE = (_ROOT / "docs" / "how-to" / "rest-api.md").read_text(encoding="utf-8")
_EXAMPLE = re.compile(r"^```sh\n(.*?)^```(?:\n\n```json\n(.*?)^```)?", re.MULTILINE | re.DOTALL)
_ADDRESS = "http://127.0.0.1:8440"
#: What stands in the page for what differs from time to time.
_ANYTHING = "…"
_PATIENCE = 120


@pytest.fixture
def environment(sqlite_url: str, valkey_url: str, tmp_path: Path) -> dict[str, str]:
    """The shop of the tutorial, with a command line on the PATH."""
    program = tmp_path / "bin" / "breakbulk"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m breakbulk "$@"\n')
    program.chmod(0o755)
    (tmp_path / "shop.py").write_bytes((_ROOT / "examples" / "one_file" / "shop.py").read_bytes())
    return {
        **os.environ,
        "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join([str(_ROOT), str(tmp_path)]),
        "PYTHONUNBUFFERED": "1",
        "SHOP_DATABASE": sqlite_url,
        "SHOP_BROKER": valkey_url,
    }


@pytest.fixture
def address(environment: dict[str, str], tmp_path: Path) -> Iterator[str]:
    """Where the shop's dashboard is served."""
    for command in ([sys.executable, "shop.py"], ["breakbulk", "-A", "shop:bulk", "db", "upgrade"]):
        subprocess.run(
            command, cwd=tmp_path, env=environment, check=True, capture_output=True, timeout=120
        )
    server = subprocess.Popen(
        ["breakbulk", "-A", "shop:bulk", "serve", "--port", "0"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        found = re.match(r"Open (http://[\d.:]+)/", server.stdout.readline())
        assert found is not None
        yield found[1]
    finally:
        server.kill()
        server.communicate()


def assert_holds(shown: Any, given: Any) -> None:
    """What the page shows of an answer is in it."""
    if isinstance(shown, dict):
        for name, value in shown.items():
            assert name in given
            assert_holds(value, given[name])
    elif isinstance(shown, list):
        assert len(shown) == len(given)
        for one, other in zip(shown, given, strict=True):
            assert_holds(one, other)
    elif shown != _ANYTHING:
        assert shown == given


def test_every_example_of_the_page(
    address: str, environment: dict[str, str], tmp_path: Path
) -> None:
    examples = _EXAMPLE.findall(_PAGE)
    assert len(examples) == _PAGE.count("```sh\n")
    mark = "that was an example"
    script = "".join(f"{commands}echo; echo {mark!r}\n" for commands, _ in examples)
    assert script.count(_ADDRESS) == 1
    done = subprocess.run(
        ["sh", "-eu", "-c", script.replace(_ADDRESS, address)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=_PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers = done.stdout.split(f"{mark}\n")[:-1]
    for (commands, shown), answer in zip(examples, answers, strict=True):
        if shown:
            assert_holds(json.loads(shown), json.loads(answer))
        else:
            assert answer.strip() == "", commands
    assert json.loads((tmp_path / "run.json").read_text())["run"]["id"] == 1
    assert (tmp_path / "run.etag").read_text().startswith('W/"')
