"""A small application on SQLite, and the command line to run on it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import create_engine, text

from breakbulk.cli import breakbulk

SHOP = '''
from decimal import Decimal
from typing import Annotated

from celery import Celery
from sqlalchemy import select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from breakbulk import Breakbulk, Masked

app = Celery("shopfront", broker={broker!r})
app.conf.task_always_eager = {eager!r}
bulk = Breakbulk(database={database!r}, celery=app, secret_key="for tests only " * 3)


class Base(DeclarativeBase):
    pass


class Product(Base):
    __tablename__ = "product"
    id: Mapped[int] = mapped_column(primary_key=True)
    price: Mapped[Decimal]


@bulk.job(name="reprice", chunk_size=2, max_retries=0, retry_delay=0)
class Reprice:
    """Recalculate every price.

    And more that is not shown.
    """

    factor: int = 2
    password: Annotated[str, Masked] = "s3cret"

    def source(self):
        return select(Product)

    def process(self, chunk):
        for product in chunk:
            product.price *= self.factor


@bulk.job(name="mend", queue="repairs", max_lanes=1)
class Mend:
    """Mend some products."""

    only: list[int]

    def source(self):
        return select(Product).where(Product.id.in_(self.only))

    def process(self, chunk):
        pass
'''


@dataclass
class Shop:
    """An application in a directory of its own, and the command line that works on it."""

    directory: Path
    database: str
    target: str | None = "shopfront:bulk"

    def write(self, name: str, content: str) -> None:
        """Write a module of the application."""
        path = self.directory / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)

    def open(self, *, broker: str = "memory://", eager: bool = False, rows: int = 5) -> None:
        """Write the application and create its tables with some rows."""
        self.write("shopfront", SHOP.format(database=self.database, broker=broker, eager=eager))
        self.sql("CREATE TABLE product (id INTEGER PRIMARY KEY, price NUMERIC NOT NULL)")
        for number in range(1, rows + 1):
            self.sql(f"INSERT INTO product VALUES ({number}, {number})")
        assert self("db", "upgrade").exit_code == 0

    def sql(self, statement: str) -> list[Any]:
        """Run one statement and commit."""
        engine = create_engine(self.database)
        with engine.begin() as connection:
            result = connection.execute(text(statement))
            rows = list(result) if result.returns_rows else []
        engine.dispose()
        return rows

    def __call__(self, *arguments: str, target: str | None = None) -> Result:
        """Run ``breakbulk -A … arguments``."""
        chosen = target or self.target
        given = ("-A", chosen) if chosen else ()
        return CliRunner().invoke(breakbulk, [*given, *arguments], prog_name="breakbulk")

    def json(self, *arguments: str) -> Any:
        """Run it with ``--json`` and read what it prints."""
        return json.loads(self(*arguments, "--json").stdout)


@pytest.fixture
def shop(sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """An application yet to be written, in the current directory."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BREAKBULK_APP", raising=False)
    yield Shop(tmp_path, sqlite_url)
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in {"shopfront", "store", "broken"}:
            del sys.modules[name]


@pytest.fixture
def refused(shop: Shop) -> Callable[[Result, int], str]:
    """Check that a command was refused in one sentence; the sentence."""

    def check(result: Result, code: int) -> str:
        assert result.exit_code == code, result.output
        assert not result.stdout
        assert "Traceback" not in result.stderr
        lines = result.stderr.strip().splitlines()
        assert len(lines) == 1, lines
        assert lines[0].startswith("Error: ")
        return lines[0].removeprefix("Error: ")

    return check
