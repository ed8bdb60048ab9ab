"""The products: real packages of the Python Package Index."""

from __future__ import annotations

import csv
import gzip
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Connection, text

import breakbulk

ENVIRONMENT = "BREAKBULK_CATALOGUE"
ROWS = 886_323
"""Rows of the full catalogue; the shipped sample is repeated up to as many."""

_SAMPLE = Path(breakbulk.__file__).parent / "demo" / "catalogue.tsv.gz"


def load(connection: Connection, most: int = ROWS) -> int:
    """Fill the table ``catalogue``, from which ``product`` is filled; return its rows.

    Args:
        most: so many at most.
    """
    # Each measurement asks for as many as it needs.
    connection.execute(text("DROP TABLE IF EXISTS catalogue"))
    connection.execute(text("CREATE UNLOGGED TABLE catalogue (LIKE product)"))
    driver = connection.connection.driver_connection
    assert driver is not None
    rows = 0
    with driver.cursor().copy("COPY catalogue FROM STDIN") as copy:
        for rows, (name, version, month) in enumerate(itertools.islice(_packages(), most), 1):
            copy.write_row((rows, name, version, month, 0, 0))
    return rows


def check() -> None:
    """See that the named catalogue is there, before anything is started.

    Raises:
        SystemExit: it is not; with one sentence.
    """
    full = os.environ.get(ENVIRONMENT)
    if full and not Path(full).is_file():
        raise SystemExit(
            f"There is no file {full}, which {ENVIRONMENT} names: leave the variable out to repeat"
            " the shipped catalogue."
        )


def _packages() -> Iterator[tuple[str, str, str]]:
    full = os.environ.get(ENVIRONMENT)
    if full:
        return _read(Path(full))
    return itertools.cycle(list(_read(_SAMPLE)))


def _read(path: Path) -> Iterator[tuple[str, str, str]]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            yield row["name"], row["version"], row["month"]
