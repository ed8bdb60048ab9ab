"""Make the demo's catalogue from a full list of packages.

    python scripts/make_catalogue.py pypi_packages.tsv.gz breakbulk/demo/catalogue.tsv.gz

The list is a gzipped table with a header line and the columns ``name``, ``version``, ``month``
(of the last release) and ``rank_among_15000_most_downloaded`` (0: not among them); others are
left out. The catalogue keeps the ranked packages, sorted by rank, with the columns ``name``,
``version``, ``month`` and ``rank``. A release whose version is not known has
an empty version and month.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
from pathlib import Path

_RANK = "rank_among_15000_most_downloaded"


def extract(source: Path) -> list[tuple[str, str, str, int]]:
    """Return name, version, month and rank of the ranked packages in ``source``, by rank.

    Raises:
        KeyError: the table lacks one of the columns.
        ValueError: a rank is not a number.
    """
    with gzip.open(source, "rt", encoding="utf-8", newline="") as file:
        # No quoting: a quotation mark in a summary is nothing but that.
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        packages = [
            (row["name"], row["version"], row["month"], int(row[_RANK] or 0)) for row in rows
        ]
    ranked = [package for package in packages if package[3]]
    return sorted(ranked, key=lambda package: package[3])


def write(packages: list[tuple[str, str, str, int]], target: Path) -> None:
    """Write the catalogue, the same bytes each time (as far as zlib is the same)."""
    lines = io.StringIO()
    lines.write("name\tversion\tmonth\trank\n")
    lines.writelines("\t".join(map(str, package)) + "\n" for package in packages)
    with (
        target.open("wb") as file,
        # Neither a date nor a file name in the header.
        gzip.GzipFile("", "wb", compresslevel=9, fileobj=file, mtime=0) as packed,
    ):
        packed.write(lines.getvalue().encode())


def main() -> None:
    """Read the list named first, write the catalogue named second."""
    parser = argparse.ArgumentParser(description="Make the demo's catalogue.")
    parser.add_argument("source", type=Path, help="the full list, gzipped")
    parser.add_argument("target", type=Path, help="the catalogue to write")
    arguments = parser.parse_args()
    packages = extract(arguments.source)
    write(packages, arguments.target)
    print(f"{len(packages)} packages, {arguments.target.stat().st_size} bytes")


if __name__ == "__main__":
    main()
