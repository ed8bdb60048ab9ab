"""A user's own application in one file, exactly as its users would run it."""

from __future__ import annotations

import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import create_engine, text

if TYPE_CHECKING:
    from tests.support.workers import WorkerFactory

_ROOT = Path(__file__).parents[2]
_HOME = _ROOT / "examples" / "one_file"


@pytest.mark.parametrize(
    "database", ["postgres", pytest.param("sqlite", marks=pytest.mark.thorough)]
)
def test_the_shop_in_one_file(
    request: pytest.FixtureRequest,
    valkey_url: str,
    queue_name: str,
    start_worker: WorkerFactory,
    database: str,
) -> None:
    url = request.getfixturevalue(f"{database}_url")
    environment = {"SHOP_DATABASE": url, "SHOP_BROKER": valkey_url, "SHOP_QUEUE": queue_name}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=_HOME,
            env={
                **os.environ,
                **environment,
                "PYTHONPATH": str(_ROOT),
                "PYTHONDONTWRITEBYTECODE": "1",
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def breakbulk(*arguments: str) -> subprocess.CompletedProcess[str]:
        return run("-m", "breakbulk", "-A", "shop:bulk", *arguments)

    assert "1000 products" in run("shop.py").stdout
    assert breakbulk("db", "upgrade").returncode == 0
    worker = start_worker("shop", cwd=_HOME, env=environment)
    done = breakbulk("run", "ProcessWarehouse", "-p", "rate=1.05", "--watch")
    assert done.returncode == 0, done.stdout + done.stderr
    assert breakbulk("audit", "1").returncode == 0
    engine = create_engine(url)
    with engine.connect() as connection:
        versions = connection.execute(text("SELECT version, count(*) FROM products GROUP BY 1"))
        assert [tuple(row) for row in versions] == [(1, 1000)]
        prices = connection.execute(text("SELECT price FROM products WHERE name = 'product 20'"))
        assert Decimal(str(prices.scalar_one())) == 21
        notices = connection.execute(text("SELECT text FROM notices")).scalars()
        assert list(notices) == ["1000 products processed"]
    engine.dispose()
    worker.terminate()
    assert worker.wait() == 0
    assert "Traceback" not in worker.log()
