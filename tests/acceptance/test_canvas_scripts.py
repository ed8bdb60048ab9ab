"""Somebody's whole script on a ledger in one file: in each pool, and where all is eager."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.workers import WorkerFactory

_ROOT = Path(__file__).parents[2]
_SHOP = """
import os
from celery import Celery
from breakbulk import Breakbulk

app = Celery("shop", broker=os.environ["SHOP_BROKER"])
app.conf.task_default_queue = os.environ["SHOP_QUEUE"]
app.conf.task_always_eager = "SHOP_EAGER" in os.environ
bulk = Breakbulk(database="sqlite:///ledger.db", celery=app)

@app.task(bind=True, acks_late=True, max_retries=5)
def process_some(self, start, end):
    if start == 1_000 and self.request.retries < 2:
        raise self.retry(exc=ValueError("busy"), countdown=0.1)
    return [end - start, os.getpid()]

@app.task(bind=True, acks_late=True, max_retries=5)
def process_finished(self, done, asked_by):
    if not self.request.retries:
        raise self.retry(exc=ValueError("busy"), countdown=0.1)
    return [sum(count for count, _ in done), asked_by in {pid for _, pid in done}]

@app.task(time_limit=30)
def limited():
    return 1
"""
_SCRIPT = """
import os
from breakbulk.canvas import chain, group
from shop import process_finished, process_some

task_list = []
for x in range(0, 5_000, 500):
    task_list.append(process_some.s(x, x + 500))
product_group = group(task_list)
print(chain(product_group, process_finished.s(os.getpid())).apply_async().get(timeout=60))
"""
_LIMITED = """
import time
from celery.exceptions import TimeoutError
from breakbulk import RunStatus
from breakbulk.canvas import group
from shop import limited

handle = group([limited.s()]).apply_async()
while not handle.ready() and handle.run.status() is not RunStatus.HELD:
    time.sleep(0.05)
try:
    print(handle.get(timeout=0))
except TimeoutError as late:
    print(late)
"""


class Script:
    """A directory with the shop in it."""

    def __init__(self, home: Path, broker: str, queue: str) -> None:
        (home / "shop.py").write_text(_SHOP)
        self.home = home
        self.environment = {"SHOP_BROKER": broker, "SHOP_QUEUE": queue, "PYTHONPATH": str(_ROOT)}

    def run(self, *arguments: str, **environment: str) -> str:
        """What a program prints, whose errors are the test's."""
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.home,
            env={**os.environ, **self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def breakbulk(self, *arguments: str) -> str:
        """What the command line prints."""
        return self.run("-m", "breakbulk", "-A", "shop:bulk", *arguments)


@pytest.mark.thorough
@pytest.mark.parametrize(
    "pool",
    ["threads", *(pytest.param(one, marks=pytest.mark.thorough) for one in ("prefork", "solo"))],
)
def test_on_sqlite_in_each_pool(
    tmp_path: Path, valkey_url: str, queue_name: str, start_worker: WorkerFactory, pool: str
) -> None:
    script = Script(tmp_path, valkey_url, queue_name)
    script.breakbulk("db", "upgrade")
    start_worker("shop", pool=pool, env=script.environment)
    assert script.run("-c", _SCRIPT) == "[5000, False]"
    assert "10 of 10 parts (100.0 %)" in script.breakbulk("status", "1")
    told = script.run("-c", _LIMITED)
    if pool == "threads":
        assert "still held after 0 s (shop.limited has a time limit, which cannot be kept" in told
        assert "work on its queue with -P prefork or solo" in script.breakbulk("status", "2")
    else:
        assert told == "[1]"


def test_where_everything_is_eager(tmp_path: Path, queue_name: str) -> None:
    script = Script(tmp_path, "memory://", queue_name)
    script.breakbulk("db", "upgrade")
    assert script.run("-c", _SCRIPT, SHOP_EAGER="1") == "[5000, True]", (
        "in the script's own process"
    )
    assert script.run("-c", _LIMITED, SHOP_EAGER="1") == "[1]"
    assert "succeeded" in script.breakbulk("status", "1")
