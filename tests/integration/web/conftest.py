"""Fixtures of the dashboard on a yard's runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import insert, select
from webtest import TestApp

from breakbulk.web import Access, make_wsgi_app

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bs4 import Tag
    from webtest import TestResponse

    from breakbulk import RunHandle
    from tests.support.yard import Yard


def access(environ: Mapping[str, Any]) -> Access | None:
    """Whoever the test says, as a proxy in front of the host would."""
    user = environ.get("REMOTE_USER")
    return None if user is None else Access(user, environ.get("test.can", "view").split())


def one(page: TestResponse, selector: str) -> Tag:
    """The first element that a selector finds."""
    found = page.html.select_one(selector)
    assert found is not None, f"no {selector} in {page.request.path_qs}"
    return found


def part(yard: Yard, handle: RunHandle, *paths: str, number: int = 2) -> None:
    """Put parts of one of a run's chunks beside it, as splits would have left them."""
    chunks = yard.ledger.database.schema.chunks
    with yard.transaction() as connection:
        whole = select(chunks).where(chunks.c.run_id == handle.id, chunks.c.number == number)
        found = connection.execute(whole.where(chunks.c.path == "")).mappings().one()
        connection.execute(insert(chunks), [{**found, "path": path} for path in paths])


@pytest.fixture
def nobody(yard: Yard) -> TestApp:
    """The dashboard for nobody in particular."""
    return TestApp(make_wsgi_app(yard.bulk, access=access, title="Yard"))


def person(app: TestApp, user: str, can: str) -> TestApp:
    """The same for somebody."""
    return TestApp(app.app, extra_environ={"REMOTE_USER": user, "test.can": can})


def machine(app: TestApp, text: str) -> TestApp:
    """The same for whoever has a token."""
    known = TestApp(app.app)
    known.authorization = ("Bearer", text)
    return known


@pytest.fixture
def looker(yard: Yard, nobody: TestApp) -> TestApp:
    """For a machine that may look."""
    return machine(nobody, yard.bulk.tokens.create("graphs").text)


@pytest.fixture
def deployer(yard: Yard, nobody: TestApp) -> TestApp:
    """For a machine that may steer."""
    return machine(nobody, yard.bulk.tokens.create("deployer", can="operate").text)


@pytest.fixture
def viewer(nobody: TestApp) -> TestApp:
    """For somebody who may look."""
    return person(nobody, "ben", "view")


@pytest.fixture
def operator(nobody: TestApp) -> TestApp:
    """For somebody who may steer."""
    return person(nobody, "ana", "operate")
