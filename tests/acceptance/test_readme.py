"""The README's fifteen lines and its commands, exactly as they are printed there."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin
from urllib.request import HTTPCookieProcessor, OpenerDirector, build_opener

import pytest
from bs4 import BeautifulSoup
from sqlalchemy import Engine, NullPool, create_engine, make_url, text

from tests.support.servers import psycopg_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.servers import Servers
    from tests.support.workers import WorkerFactory

_ROOT = Path(__file__).parents[2]
_README = (_ROOT / "README.md").read_text(encoding="utf-8")
_ROWS = 1200
_PATIENCE = 120
#: What the example says of itself that it imports.
_MODELS = """
from decimal import Decimal

from sqlalchemy import Numeric
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    pass


class Product(Base):
    __tablename__ = "products"
    id: Mapped[int] = mapped_column(primary_key=True)
    active: Mapped[bool]
    price: Mapped[Decimal] = mapped_column(Numeric(12, 4))


class Notice(Base):
    __tablename__ = "notices"
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]
"""


def _block(beginning: str) -> str:
    """The first block of code that begins with these words."""
    blocks = re.findall(r"^```\w*\n(.*?)^```$", _README, re.MULTILINE | re.DOTALL)
    return str(next(block for block in blocks if block.startswith(beginning)))


@contextmanager
def _shop(server: str) -> Iterator[Engine]:
    """The database that the example names, on a server that is ours."""
    admin = create_engine(psycopg_url(server), isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with admin.connect() as connection:
        connection.execute(text("CREATE DATABASE shop"))
    engine = create_engine(make_url(psycopg_url(server)).set(database="shop"), poolclass=NullPool)
    try:
        yield engine
    finally:
        with admin.connect() as connection:
            connection.execute(text("DROP DATABASE shop WITH (FORCE)"))


def _as_typed(command: str) -> list[str]:
    """A line of the README, for this very Python."""
    return [sys.executable, "-m", *shlex.split(command, comments=True)]


@contextmanager
def _served(command: list[str], where: dict[str, Any]) -> Iterator[tuple[str, OpenerDirector]]:
    """The dashboard's link as it prints it, and a browser that has not opened it yet."""
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    server = subprocess.Popen(command, **where, **pipes)
    try:
        assert server.stdout is not None
        opens, _, link = server.stdout.readline().partition(" ")
        if opens != "Open":
            server.kill()
            pytest.fail(f"no link, but {opens!r}: {server.communicate()[1]}")
        yield link.strip(), build_opener(HTTPCookieProcessor())
    finally:
        server.kill()
        server.communicate()


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """A directory with the example pasted into it."""
    package = tmp_path / "shop"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "models.py").write_text(_MODELS)
    (package / "jobs.py").write_text(_block("from decimal import Decimal"))
    return tmp_path


def test_the_example_works_as_it_is_printed(
    test_servers: Servers, valkey_url: str, start_worker: WorkerFactory, example: Path
) -> None:
    server = make_url(test_servers.postgres)
    environment = {
        "PGHOST": str(server.host),
        "PGPORT": str(server.port),
        "PGUSER": str(server.username),
        "PGPASSWORD": str(server.password),
        "CELERY_BROKER_URL": valkey_url,
    }

    unbuffered = {"PYTHONPATH": str(_ROOT), "PYTHONUNBUFFERED": "1"}
    where: dict[str, Any] = {
        "cwd": example,
        "env": {**os.environ, **environment, **unbuffered},
        "text": True,
    }

    def run(command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            _as_typed(command), **where, capture_output=True, timeout=_PATIENCE, check=False
        )

    upgrade, worker, watch = _block("breakbulk -A").splitlines()
    (serve,) = _block("breakbulk -A shop.jobs:bulk serve").splitlines()
    assert shlex.split(worker, comments=True) == ["celery", "-A", "shop.jobs", "worker"]
    with _shop(test_servers.postgres) as engine:
        with engine.begin() as connection:
            connection.execute(
                text("CREATE TABLE products (id serial PRIMARY KEY, active bool, price numeric)")
            )
            connection.execute(text("CREATE TABLE notices (id serial PRIMARY KEY, text text)"))
            rows = f"SELECT n % 6 <> 0, n FROM generate_series(1, {_ROWS}) AS n"
            connection.execute(text(f"INSERT INTO products (active, price) {rows}"))
        assert run(upgrade).returncode == 0
        start_worker("shop.jobs", cwd=example, env=environment)
        watched = run(watch)
        assert watched.returncode == 0, watched.stderr
        with _served([*_as_typed(serve), "--port", "0"], where) as (link, browser):
            with browser.open(link, timeout=_PATIENCE) as first:
                assert "ProcessWarehouse" in first.read().decode()
            with browser.open(urljoin(link, "/runs/1"), timeout=_PATIENCE) as page:
                told = BeautifulSoup(page.read(), "html.parser").select_one(".headline")
        assert told is not None
        assert told.get_text(" ").split() == ["Run", "1", "shop.jobs.ProcessWarehouse", "succeeded"]
        with engine.connect() as connection:
            prices = "SELECT count(*) FROM products WHERE price = id * CASE WHEN active THEN 1.05"
            right = connection.execute(text(f"{prices} ELSE 1 END")).scalar_one()
            notices = connection.execute(text("SELECT text FROM notices")).scalars().all()
        start_worker.close()
    assert right == _ROWS
    assert notices == ["1000 products processed"]


def test_the_commands_of_make_are_there() -> None:
    targets = (_ROOT / "Makefile").read_text(encoding="utf-8")
    for line in _block("make demo").splitlines():
        command, target = shlex.split(line, comments=True)
        assert command == "make"
        assert f"\n{target}:" in targets


def test_what_is_to_be_installed_is_installed_from_a_clone() -> None:
    """There is no package index that has it yet."""
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    told = re.findall(r"pip install '(.*?)\[(.*?)\]'", _README)
    assert told
    for what, extras in told:
        assert what == "./breakbulk"
        assert set(extras.split(",")) <= set(project["optional-dependencies"])


def test_no_command_names_a_file_that_is_nowhere() -> None:
    assert "BREAKBULK_CATALOGUE=" not in _README
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", _README):
        assert (_ROOT / target).exists(), target
