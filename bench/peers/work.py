"""What every contestant's chunks call: the same functions, the same session, the same table."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, text
from sqlalchemy.orm import Session

from bench import shop
from bench.peers.peer import CHUNK_SIZE

SCRATCH = "BREAKBULK_BENCH_SCRATCH"
TABLES = (
    "CREATE TABLE called_back (at timestamptz NOT NULL)",
    "CREATE TABLE warmed (pid integer NOT NULL)",
)


@cache
def engine() -> Engine:
    """This process's connections."""
    return create_engine(database())


def forget_connections() -> None:
    """Leave those of the parent to it, after a fork."""
    engine().dispose(close=False)


def database() -> str:
    """URL of the database, with SQLAlchemy's driver; any where the module is only looked at."""
    return os.environ.get(shop.DATABASE, "postgresql+psycopg://")


def plain_database() -> str:
    """The same, as the database's own library reads it."""
    return database().replace("postgresql+psycopg://", "postgresql://", 1)


def broker() -> str:
    """URL of the broker; any where the module is only looked at."""
    return os.environ.get(shop.BROKER, "redis://")


def scratch() -> Path:
    """A directory of this run's own."""
    return Path(os.environ[SCRATCH])


def python(module: str, *arguments: str) -> Sequence[str]:
    """The command line that runs a module."""
    return [sys.executable, "-m", module, *arguments]


def score(after: int) -> None:
    """The real work: 500 rows are fetched by their keys, worked on, and updated at once."""
    here = shop.Product.id > after, shop.Product.id <= after + CHUNK_SIZE
    with Session(engine()) as session:
        shop.work(session, session.execute(shop.PRODUCTS.where(*here).order_by(shop.Product.id)))
        session.commit()


def nothing(_after: int) -> None:
    """Do nothing, so that all that is left is what the contestant itself costs."""


def warm(_after: int) -> None:
    """Connect, compile, and note which process has come."""
    score(-2 * CHUNK_SIZE)
    with Session(engine()) as session:
        session.execute(text("INSERT INTO warmed VALUES (:pid)"), {"pid": os.getpid()})
        session.commit()
    # Until all have come, or one would do everything.
    time.sleep(0.02)


FUNCTIONS: dict[str, Callable[[int], None]] = {
    function.__name__: function for function in (score, nothing, warm)
}


def call_back(*_results: Any) -> None:
    """The callback of those that have one: note when all was done."""
    with Session(engine()) as session:
        session.execute(text("INSERT INTO called_back VALUES (clock_timestamp())"))
        session.commit()


def called_back() -> float | None:
    """When the callback came; None if it has not."""
    with engine().connect() as connection:
        at = connection.execute(text("SELECT min(at) FROM called_back")).scalar()
    return None if at is None else float(at.timestamp())
