"""The article's listing, on Celery's chord and with one import changed: the real catalogue."""

from __future__ import annotations

import difflib
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from redis import Redis
from sqlalchemy import Engine, text

from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from tests.support.workers import WorkerFactory

_HOME = Path(__file__).parents[2] / "examples" / "article"
_STUCK = 700
#: The whole index, where somebody has it: 1,773 parts of 500 instead of 30.
_WHOLE = os.environ.get("BREAKBULK_CATALOGUE")
_ROWS = 100_000 if _WHOLE else 10_000
_RETRIED = "Retry in"
_CODE = re.compile("`([^`]+)`")


#: What is in before.py around the listing's own pieces; README.md says so.
_WHOLE_FILE = '''\
"""The article's listing as it stands there, corrected where it does not run; see README.md."""

import shop
from celery import chain, group
from shop import celery


class YourClass:
{task}

{finished}


def processWholeWarehouse():
{loop}

{grouped}

{chained}
'''
#: What processFinished has for what processSomeProducts has.
_THE_SAME = {
    "processSomeProducts": "processFinished",
    "(self, start, end)": "(self, results)",
    "shop.process(start, end)": "shop.finish()",
}


def test_the_listing_was_corrected_as_its_readme_says_and_nowhere_else() -> None:
    printed = (_HOME / "printed.txt").read_text("utf-8")
    for was, is_ in _corrections():
        assert was in printed, f"the listing has no {was!r} to be corrected"
        printed = printed.replace(was, is_)
    pieces = printed.replace("\t", " " * 4).removesuffix("\n").split("\n[…]\n")
    loop, grouped, chained, task = pieces
    finished = task
    for was, is_ in _THE_SAME.items():
        assert was in finished
        finished = finished.replace(was, is_)
    whole = _WHOLE_FILE.format(
        task=_within(task, 1),
        finished=_within(finished, 1),
        loop=_within(loop, 1),
        grouped=_within(grouped, 1),
        chained=_within(chained, 2),
    )
    assert (_HOME / "before.py").read_text("utf-8") == whole


def _corrections() -> list[tuple[str, str]]:
    """What was printed and what stands here, from the table of the README."""
    lines = (_HOME / "README.md").read_text("utf-8").splitlines()
    found: list[tuple[str, str]] = []
    for line in lines[lines.index("|---|---|---|") + 1 :]:
        if not line.startswith("|"):
            break
        printed, here, _ = (_CODE.findall(cell) for cell in line.strip("|").split("|"))
        found += zip(printed, here, strict=True)
    assert found
    return found


def _within(piece: str, depth: int) -> str:
    return textwrap.indent(piece, " " * 4 * depth)


def test_one_import_is_all_that_differs() -> None:
    before, after = (
        (_HOME / f"{name}.py").read_text("utf-8").splitlines() for name in ("before", "after")
    )
    changes = [line for line in difflib.ndiff(before, after) if line[0] in "+-"]
    assert changes == [
        "- from celery import chain, group",
        "+ from breakbulk.canvas import chain, group",
    ]


@pytest.mark.parametrize("listing", [pytest.param("before", marks=pytest.mark.thorough), "after"])
def test_the_listing(
    postgres_url: str,
    postgres_engine: Engine,
    valkey_url: str,
    queue_name: str,
    start_worker: WorkerFactory,
    listing: str,
) -> None:
    results = f"{valkey_url.removesuffix('/0')}/5"
    environment = {
        "SHOP_DATABASE": postgres_url,
        "SHOP_BROKER": valkey_url,
        "SHOP_RESULTS": results,
        "SHOP_QUEUE": queue_name,
        "SHOP_RETRY_SECONDS": "0.5",
        **({"SHOP_CATALOGUE": _WHOLE} if _WHOLE else {}),
    }

    def run(program: str) -> None:
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=_HOME,
            env={**os.environ, **environment},
            stdout=subprocess.DEVNULL,
            check=True,
        )

    run("import shop; shop.main()")
    worker = start_worker(f"{listing}:celery", env=environment, cwd=_HOME)

    def retried(name: str) -> bool:
        lines = worker.log().splitlines()
        return any(name in line and _RETRIED in line for line in lines)

    # Somebody else works on a product, and on the warehouse: the article's `except` has its turn.
    with postgres_engine.connect() as other:
        other.execute(text("SELECT FROM warehouses FOR UPDATE"))
        with postgres_engine.connect() as another:
            another.execute(text("SELECT FROM products WHERE id = :id FOR UPDATE"), {"id": _STUCK})
            run(f"import {listing}; {listing}.processWholeWarehouse()")
            wait_for(lambda: retried("processSomeProducts"), message="a part to be retried")
        wait_for(lambda: retried("processFinished"), message="the callback to be retried")
        assert _ask(postgres_engine, "SELECT count(*) FROM products WHERE version <> 1") == 0
    wait_for(lambda: _ask(postgres_engine, "SELECT times FROM warehouses"), message="the callback")
    with Redis.from_url(valkey_url) as broker:
        wait_for(
            lambda: not broker.llen(queue_name) and not broker.hlen("unacked"),
            message="nothing to be left to do",
        )
    assert _ask(postgres_engine, "SELECT times FROM warehouses") == 1
    assert _ask(postgres_engine, "SELECT count(*) FROM products WHERE version <> 1") == 0
    assert _ask(postgres_engine, "SELECT count(*) FROM products") > _ROWS


def _ask(engine: Engine, query: str) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text(query)).scalar_one())
