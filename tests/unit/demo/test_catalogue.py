"""The catalogue that is shipped with the demo."""

from __future__ import annotations

import re

from breakbulk.demo.catalogue import packages


def test_holds_the_ranked_packages() -> None:
    found = packages()
    assert len(found) > 14_000
    assert len({package.name for package in found}) == len(found)
    ranks = [package.rank for package in found]
    assert ranks == sorted(set(ranks))
    assert {"sqlalchemy", "celery", "pyramid"} <= {package.name.lower() for package in found}


def test_every_fact_is_one() -> None:
    for package in packages():
        assert package.name
        assert package.month is None or re.fullmatch(r"20\d\d-[01]\d", package.month)
        assert (package.release is None) == (package.month is None)
        assert package.release != ""
