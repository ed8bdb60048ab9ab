"""What an extra brings along, which is what the demo of an installed wheel has."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from typing import TYPE_CHECKING

import pytest

from tests.support.closure import closure, lend

if TYPE_CHECKING:
    from pathlib import Path


def test_an_extra_brings_along_what_it_needs_and_no_more() -> None:
    plain, demo = closure("breakbulk"), closure("breakbulk[demo]")
    assert {"breakbulk", "celery", "kombu", "sqlalchemy"} <= set(plain)
    assert set(plain) < set(demo)
    assert {"pyramid", "redis", "waitress"} <= set(demo) - set(plain)
    assert not {"pytest", "hypothesis", "boto3", "mypy"} & set(demo)


def test_what_is_not_installed_is_not_passed_over() -> None:
    with pytest.raises(PackageNotFoundError, match="breakbulk-of-tomorrow"):
        closure("breakbulk-of-tomorrow")


def test_only_what_is_lent_is_there(tmp_path: Path) -> None:
    lend(closure("celery"), tmp_path)
    assert (tmp_path / "celery" / "__init__.py").exists()
    assert not (tmp_path / "pytest").exists()
