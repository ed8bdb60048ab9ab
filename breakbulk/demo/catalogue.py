"""The shipped catalogue: the most downloaded packages of the Python Package Index."""

from __future__ import annotations

import csv
import gzip
import io
from importlib.resources import files
from typing import NamedTuple

_FILE = "catalogue.tsv.gz"


class Package(NamedTuple):
    """One package as it was when the catalogue was made.

    Attributes:
        name: as the index spells it.
        release: its latest version; None where that is not known.
        month: of that release, ``YYYY-MM``; None likewise.
        rank: its place among the most downloaded ones, from 1.
    """

    name: str
    release: str | None
    month: str | None
    rank: int


def packages() -> list[Package]:
    """Return the whole catalogue, by rank."""
    packed = files("breakbulk.demo").joinpath(_FILE).read_bytes()
    lines = io.StringIO(gzip.decompress(packed).decode(), newline="")
    rows = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    return [
        Package(row["name"], row["version"] or None, row["month"] or None, int(row["rank"]))
        for row in rows
    ]
