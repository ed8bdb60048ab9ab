"""``breakbulk serve`` as a process of its own, with a browser's manners."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import HTTPError
from urllib.request import HTTPCookieProcessor, build_opener

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.stage import Stage
    from tests.support.stages import Stages

_ROOT = Path(__file__).parents[2]
_PATIENCE = 120


@pytest.fixture
def stage(sqlite_url: str, valkey_url: str, set_stage: Stages) -> Stage:
    return set_stage(sqlite_url, valkey_url)


@contextmanager
def serving(stage: Stage, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "breakbulk", "serve", *arguments],
        cwd=stage.directory,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(_ROOT), str(stage.directory)]),
            "PYTHONUNBUFFERED": "1",
            "BREAKBULK_APP": "tests.support.warehouse",
            **stage.config.environment(),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_link_that_it_prints_lets_in_one_browser(stage: Stage) -> None:
    with serving(stage, "--port", "0") as server:
        assert server.stdout is not None
        line = server.stdout.readline()
        found = re.fullmatch(r"Open ((http://127\.0\.0\.1:\d+)/login\?token=\S+)\n", line)
        assert found is not None, line
        link, home = found.groups()
        mine = build_opener(HTTPCookieProcessor())
        with mine.open(link, timeout=_PATIENCE) as page:
            assert b"Nothing goes on." in page.read()
        following = server.stdout.readline()
        assert following.startswith(f"Open {home}/login?token=")
        assert following != line
        for address in (link, home):
            with pytest.raises(HTTPError, match="401"):
                build_opener(HTTPCookieProcessor()).open(address, timeout=_PATIENCE)
        server.send_signal(signal.SIGINT)
        _out, err = server.communicate(timeout=_PATIENCE)
    assert "Traceback" not in err
    assert err.splitlines()[0] == "Ctrl-C stops the dashboard; runs go on."


def test_a_policy_of_the_team(stage: Stage) -> None:
    (stage.directory / "policy.py").write_text(
        "from breakbulk.web import Access\n"
        "def access(environ):\n"
        "    user = environ.get('HTTP_X_USER')\n"
        "    return Access(user) if user else None\n"
    )
    with serving(stage, "--port", "0", "--access", "policy:access") as server:
        assert server.stdout is not None
        home = server.stdout.readline().removeprefix("Open ").strip()
        with pytest.raises(HTTPError, match="401"):
            build_opener().open(home, timeout=_PATIENCE)
        browser = build_opener()
        browser.addheaders = [("X-User", "ben")]
        with browser.open(home, timeout=_PATIENCE) as page:
            assert b"may look, not steer" in page.read()


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("--host", "0.0.0.0"), 1, "nothing says who may in: give --access"),  # noqa: S104
        (("--host", "no.such.host.invalid"), 1, "There is no host 'no.such.host.invalid'"),
        (("--access", "os.path"), 2, "--access os.path is not a function"),
        (("--access", "nowhere:access"), 2, "--access nowhere:access cannot be imported"),
        (("--port", "99999"), 2, "is not in the range"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(
    stage: Stage, arguments: tuple[str, ...], code: int, sentence: str
) -> None:
    with serving(stage, *arguments) as server:
        out, err = server.communicate(timeout=_PATIENCE)
    assert server.returncode == code
    assert sentence in err
    assert "Traceback" not in err
    assert out == ""
