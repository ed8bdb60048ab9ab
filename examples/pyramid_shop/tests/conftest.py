"""An application on a database of its own, and requests whose transactions come to nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import alembic.command
import alembic.config
import pytest
import transaction
import webtest
from pyramid.paster import get_appsettings
from pyramid.router import Router
from pyramid.scripting import prepare
from sqlalchemy import Engine, delete
from sqlalchemy.orm import Session

from pyramid_shop import main, models
from pyramid_shop.models.meta import Base
from pyramid_shop.scripts.initialize_db import add_users

PASSWORD = "of the tests"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Name another .ini: ``pytest --ini postgres.ini``."""
    parser.addoption("--ini", metavar="INI_FILE")


@pytest.fixture(scope="session")
def ini_file(request: pytest.FixtureRequest) -> str:
    """Where the settings are."""
    given = request.config.getoption("--ini")
    return str(given or Path(__file__).parents[1] / "testing.ini")


@pytest.fixture(scope="session")
def dbengine(ini_file: str) -> Iterator[Engine]:
    """A database with the shop's tables."""
    engine = models.get_engine(get_appsettings(ini_file))
    config = alembic.config.Config(ini_file)
    Base.metadata.drop_all(bind=engine)
    alembic.command.stamp(config, "base", purge=True)
    alembic.command.upgrade(config, "head")
    yield engine
    Base.metadata.drop_all(bind=engine)
    alembic.command.stamp(config, "base", purge=True)
    engine.dispose()


@pytest.fixture(scope="session")
def app(ini_file: str, dbengine: Engine) -> Router:
    """The application, its ledger's tables included."""
    app = main({}, dbengine=dbengine, **get_appsettings(ini_file))
    app.registry["breakbulk"].upgrade()
    return app


@pytest.fixture
def tm() -> Iterator[transaction.TransactionManager]:
    """A transaction that is aborted in the end."""
    manager = transaction.TransactionManager(explicit=True)
    manager.begin()
    manager.doom()
    yield manager
    manager.abort()


@pytest.fixture
def dbsession(app: Router, tm: transaction.TransactionManager) -> Session:
    """A session in that transaction."""
    return models.get_tm_session(app.registry["dbsession_factory"], tm)


@pytest.fixture
def testapp(app: Router, tm: transaction.TransactionManager, dbsession: Session) -> webtest.TestApp:
    """A browser whose requests are all in that transaction: nothing of them is left."""
    return webtest.TestApp(
        app,
        extra_environ={
            "HTTP_HOST": "example.com",
            "tm.active": True,
            "tm.manager": tm,
            "app.dbsession": dbsession,
        },
    )


@pytest.fixture
def app_request(app: Router, tm: transaction.TransactionManager, dbsession: Session) -> Any:
    """A request in that transaction."""
    with prepare(registry=app.registry) as env:
        request = env["request"]
        request.host = "example.com"
        request.dbsession = dbsession
        request.tm = tm
        yield request


@pytest.fixture
def browser(app: Router) -> Iterator[webtest.TestApp]:
    """A browser whose requests commit; what they leave is cleared away."""
    with app.registry["dbsession_factory"].begin() as session:
        add_users(session, PASSWORD)
    yield webtest.TestApp(app)
    with app.registry["dbsession_factory"].begin() as session:
        for table in reversed(Base.metadata.sorted_tables):
            session.execute(delete(table))


@pytest.fixture
def operator(browser: webtest.TestApp) -> webtest.TestApp:
    """The same, logged in as somebody who may press the button."""
    log_in(browser, "operator")
    return browser


def log_in(browser: webtest.TestApp, name: str, password: str = PASSWORD) -> webtest.TestResponse:
    """Fill in the login form."""
    form = browser.get("/login").forms[0]
    form["name"], form["password"] = name, password
    return form.submit(status="*")


@pytest.fixture
def warehouse(app: Router) -> int:
    """A warehouse with more products than a chunk has; its number."""
    with app.registry["dbsession_factory"].begin() as session:
        warehouse = models.Warehouse(name="Harbour")
        session.add(warehouse)
        session.flush()
        session.add_all(
            models.Product(warehouse_id=warehouse.id, name=f"product {number}", cost=number)
            for number in range(1, 1202)
        )
        return warehouse.id
