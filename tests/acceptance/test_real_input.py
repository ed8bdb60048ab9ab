"""Real rows in earnest numbers: the catalogue of the package index, keyed by name."""

from __future__ import annotations

import gzip
import os
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from tests.support.stages import BROKERS
from tests.support.warehouse import Package

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

    from tests.support.stages import Stages

_ROOT = Path(__file__).parents[2]
_PLACES = (
    os.environ.get("BREAKBULK_CATALOGUE"),
    _ROOT.parent / "shared" / "data" / "pypi_packages.tsv.gz",
    _ROOT / "breakbulk" / "demo" / "catalogue.tsv.gz",
)
_ROWS = 100_000


def _names() -> Iterator[tuple[str, int]]:
    """Names of packages, the catalogue again and again as far as it does not suffice."""
    catalogue = next(Path(place) for place in _PLACES if place and Path(place).exists())
    for copy in count():
        with gzip.open(catalogue, "rt", encoding="utf-8", newline="\n") as lines:
            next(lines)
            for line in lines:
                yield line.partition("\t")[0], copy


def _load(engine: Engine, rows: int) -> None:
    with engine.begin() as connection:
        driver: Any = connection.connection.driver_connection
        table = "packages (name, copy, version)"
        with driver.cursor() as cursor, cursor.copy(f"COPY {table} FROM STDIN") as copy:
            for name, number in islice(_names(), rows):
                copy.write_row((name, number, 0))
        connection.execute(text("ANALYZE packages"))


@pytest.mark.parametrize("broker", BROKERS)
def test_each_row_of_the_catalogue_once(
    broker_named: Any, postgres_url: str, set_stage: Stages, broker: str
) -> None:
    stage = set_stage(postgres_url, broker_named(broker), job={"chunk_size": 500})
    _load(stage.engine, _ROWS)
    for _ in range(2):
        stage.worker(concurrency=1)
    run = stage.bulk.submit(stage.application.count_packages())
    stage.until_succeeded(run)
    stage.judge(run, model=Package, rows=_ROWS)
    summary = run.record().summary
    assert summary is not None
    assert summary.rows_done == _ROWS
    assert summary.chunks_done >= _ROWS // 500
