"""What KEDA asks the ledger, on a ledger with work in it."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import create_engine, make_url, text

from tests.support.deployment import DEPLOY, documents
from tests.support.yard import Yard

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine


@pytest.fixture
def query() -> str:
    """As the manifest has it."""
    (scaled,) = [
        one
        for one in documents(DEPLOY / "kubernetes" / "keda.yaml")
        if one["kind"] == "ScaledObject"
    ]
    (trigger,) = scaled["spec"]["triggers"]
    return str(trigger["metadata"]["query"])


@pytest.fixture
def yard(postgres_url: str) -> Iterator[Yard]:
    made = Yard(postgres_url, rows=2_000)
    yield made
    made.close()


def asked(engine: Engine, query: str) -> float:
    """One number, as the scaler reads it; never NULL and never no row."""
    with engine.connect() as connection:
        (row,) = connection.execute(text(query)).all()
    (number,) = row
    return float(number)


def test_it_wants_slots_where_there_is_work_and_none_where_there_is_not(
    yard: Yard, query: str
) -> None:
    assert asked(yard.engine, query) == 0
    handle = yard.submit(yard.job())
    wanted = asked(yard.engine, query)
    assert wanted > 0
    yard.submit(yard.job(queue="another"))
    assert asked(yard.engine, query) == wanted, "another queue is another deployment's business"
    handle.pause()
    assert asked(yard.engine, query) == 0, "nobody is needed for what is paused"
    handle.resume()
    yard.settle(handle)
    assert asked(yard.engine, query) == 0


def test_another_target_is_asked_for_as_the_reference_says(yard: Yard) -> None:
    page = (DEPLOY.parent / "docs" / "reference" / "backlog.md").read_text()
    _, _, section = page.partition("### Another target")
    query = section.partition("```sql\n")[2].partition("```")[0]
    assert query.count("60") == 1
    yard.submit(yard.job())
    yard.submit(yard.job(max_lanes=2))
    yard.submit(yard.job(), finish_by=0)
    yard.submit(yard.job()).pause()
    yard.submit(yard.job(throttle_on="SELECT 'the month is being closed'"))
    assert [run.max_lanes for run in yard.bulk.backlog().runs] == [None, 2, None, None, 0]
    for target in (1, 7, 60, 3600):
        desired = yard.bulk.backlog(target=target).of("celery").desired_slots
        assert asked(yard.engine, query.replace("60", str(target))) == desired
    assert asked(yard.engine, query.replace("60", "1")) > asked(yard.engine, query)


def test_a_role_that_may_read_the_view_may_ask(yard: Yard, query: str, postgres_url: str) -> None:
    """The statements are those of the how-to."""
    page = (DEPLOY.parent / "docs" / "how-to" / "deploy-on-kubernetes.md").read_text()
    statements = page.partition("CREATE ROLE")[2].partition("```")[0]
    role, password = f"keda_{secrets.token_hex(4)}", secrets.token_hex(8)
    granted = f"CREATE ROLE{statements}".replace(" keda", f" {role}").replace("…", password)
    yard.submit(yard.job())
    try:
        with yard.engine.begin() as connection:
            connection.exec_driver_sql(granted)
        own = create_engine(make_url(postgres_url).set(username=role, password=password))
        assert asked(own, query) == asked(yard.engine, query) > 0
        own.dispose()
    finally:
        with yard.engine.begin() as connection:
            connection.exec_driver_sql(f"DROP OWNED BY {role}; DROP ROLE {role}")
