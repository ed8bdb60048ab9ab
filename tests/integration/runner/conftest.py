"""Yards for the tests of this directory."""

from tests.support.grounds import (
    clean_engine,
    external_ground,
    postgres_ground,
    postgres_yard,
    sqlite_ground,
    sqlite_yard,
    yard,
)

__all__ = [
    "clean_engine",
    "external_ground",
    "postgres_ground",
    "postgres_yard",
    "sqlite_ground",
    "sqlite_yard",
    "yard",
]
