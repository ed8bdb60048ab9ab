"""Fixtures of yards: one database of each kind for all integration tests, wiped in between."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from tests.support import databases, servers
from tests.support.yard import Yard, ground, wipe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

_HERE = Path(__file__).parent
_KINDS = ["postgres", "sqlite"]
if servers.expected("postgres"):
    _KINDS.append("postgres-external")
#: Front doors, which reach the ledger by verbs that are tried on every kind of database elsewhere.
_FRONTS = {"canvas", "pyramid", "web"}
ROWS = 25
"""Goods in a yard: three chunks, the last one smaller."""


@pytest.hookimpl(tryfirst=True)  # before it is chosen by marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave the front doors on SQLite to CI."""
    for item in items:
        given = getattr(item, "callspec", None)
        in_front = not _FRONTS.isdisjoint(item.path.relative_to(_HERE.parent).parts[1:2])
        if in_front and given is not None and given.params.get("clean_engine") == "sqlite":
            item.add_marker(pytest.mark.thorough)


@pytest.fixture(scope="package")
def postgres_ground(test_servers: servers.Servers) -> Iterator[Engine]:
    """Engine on a PostgreSQL database with all tables."""
    with databases.fresh_postgres(test_servers.postgres) as url, ground(url) as engine:
        yield engine


@pytest.fixture(scope="package")
def external_ground(test_servers: servers.Servers) -> Iterator[Engine]:
    """The same on the server that the environment names."""
    server = test_servers.external("postgres")
    with databases.fresh_postgres(server) as url, ground(url) as engine:
        yield engine


@pytest.fixture(scope="package")
def sqlite_ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Engine on an SQLite database with all tables."""
    with ground(f"sqlite:///{tmp_path_factory.mktemp('ground') / 'yard.sqlite'}") as engine:
        yield engine


@pytest.fixture
def new_files(request: pytest.FixtureRequest) -> bool:
    """Whether all tables get files of their own, which a module asks for by ``NEW_FILES``."""
    return getattr(request.module, "NEW_FILES", False)


@pytest.fixture(params=_KINDS)
def clean_engine(request: pytest.FixtureRequest, new_files: bool) -> Engine:
    """Engine on a database with all tables, all empty, on each kind of database in turn."""
    name = cast("str", request.param).replace("postgres-external", "external")
    engine: Engine = request.getfixturevalue(f"{name}_ground")
    wipe(engine, anew=new_files)
    return engine


@pytest.fixture
def yard(clean_engine: Engine) -> Iterator[Yard]:
    """A yard with goods on each kind of database in turn."""
    yard = Yard(clean_engine, rows=ROWS, shared=True)
    yield yard
    yard.close()


@pytest.fixture
def postgres_yard(postgres_ground: Engine, new_files: bool) -> Iterator[Yard]:
    """A yard with goods on PostgreSQL."""
    wipe(postgres_ground, anew=new_files)
    yard = Yard(postgres_ground, rows=ROWS, shared=True)
    yield yard
    yard.close()


@pytest.fixture
def sqlite_yard(sqlite_ground: Engine) -> Iterator[Yard]:
    """A yard with goods on SQLite."""
    wipe(sqlite_ground)
    yard = Yard(sqlite_ground, rows=ROWS, shared=True)
    yield yard
    yard.close()
