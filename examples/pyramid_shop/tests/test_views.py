"""Views, called with a request."""

from __future__ import annotations

from typing import Any

import pytest
from pyramid.httpexceptions import HTTPNotFound
from sqlalchemy.orm import Session

from breakbulk.errors import RunNotFound
from pyramid_shop.models import Warehouse
from pyramid_shop.pricing import shown
from pyramid_shop.views.default import home, process, run
from pyramid_shop.views.notfound import notfound


def test_home_shows_what_there_is(app_request: Any, dbsession: Session) -> None:
    dbsession.add(Warehouse(name="Hill"))
    dbsession.flush()
    [row] = home(app_request)["warehouses"]
    assert (row["warehouse"].name, row["products"], row["worth"]) == ("Hill", 0, "0.00 EUR")
    assert row["run"] is None


def test_nobody_can_process_what_is_not_there(app_request: Any) -> None:
    app_request.matchdict = {"id": "1000000"}
    with pytest.raises(HTTPNotFound):
        process(app_request)
    with pytest.raises(HTTPNotFound):
        run(app_request)


def test_notfound(app_request: Any) -> None:
    assert notfound(app_request) == {}
    assert app_request.response.status_int == 404


def test_prices(app_request: Any) -> None:
    assert shown(app_request, 1205) == "12.05 EUR"
    assert shown(app_request, None) == "no price yet"


def test_starting_is_part_of_the_requests_transaction(app_request: Any, dbsession: Session) -> None:
    warehouse = Warehouse(name="Hill")
    dbsession.add(warehouse)
    dbsession.flush()
    app_request.matchdict = {"id": str(warehouse.id)}
    answer = process(app_request)
    assert answer.location == "http://example.com/"
    with pytest.raises(RunNotFound):  # not committed, so nobody else sees it
        app_request.breakbulk.run(int(answer.headers["X-Run"]))
