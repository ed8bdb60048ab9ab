"""Pools of green threads are refused, in one sentence, when the worker starts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.stage import Stage

_ROOT = Path(__file__).parents[2]
#: As much of each package as Celery touches before it starts the worker.
_PACKAGES = {
    "gevent": {
        "gevent/__init__.py": "",
        "gevent/monkey.py": "def patch_all(): pass",
        "gevent/signal.py": "",
    },
    "eventlet": {
        "eventlet/__init__.py": "def monkey_patch(): pass",
        "eventlet/debug.py": "def hub_blocking_detection(*arguments): pass",
        "greenlet/__init__.py": "class GreenletExit(BaseException): pass",
    },
}


@pytest.mark.parametrize("pool", sorted(_PACKAGES))
def test_green_threads_are_refused(stage: Stage, tmp_path: Path, pool: str) -> None:
    for name, text in _PACKAGES[pool].items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    paths = os.pathsep.join([str(tmp_path), str(_ROOT)])
    worker = stage.worker(pool=pool, ready=False, env={"PYTHONPATH": paths})
    assert worker.wait() != 0
    log = worker.log()
    assert "Traceback" not in log
    sentence = next(line for line in log.splitlines() if "Breakbulk" in line)
    assert f"does not work in the {pool} pool" in sentence
    assert "-P prefork, threads or solo" in sentence
