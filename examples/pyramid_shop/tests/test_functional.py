"""The application as a browser sees it; runs are worked on when a request commits."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from pyramid_shop.models import Notice, Product, Warehouse


def test_home(testapp: Any, dbsession: Session) -> None:
    dbsession.add(Warehouse(name="Hill"))
    dbsession.flush()
    page = testapp.get("/", status=200)
    assert "Hill" in page
    assert "never" in page


def test_notfound(testapp: Any) -> None:
    assert "Not found" in testapp.get("/nowhere", status=404)


def test_the_button_needs_its_token(browser: Any, warehouse: int) -> None:
    browser.post(f"/warehouses/{warehouse}/process", status=400)


def test_the_whole_warehouse_is_processed(app: Any, browser: Any, warehouse: int) -> None:
    answer = browser.get("/").form.submit(status=303)
    run_id = int(answer.headers["X-Run"])
    assert browser.get(f"/runs/{run_id}").json["status"] == "succeeded"
    with app.registry["dbsession_factory"]() as session:
        prices = session.execute(select(Product.cost, Product.price)).all()
        assert len(prices) == 1201
        assert all(price == cost * 120 // 100 for cost, price in prices)
        found = session.get_one(Warehouse, warehouse)
        assert found.times_processed == 1
        assert found.processed_at is not None
        notice = session.scalars(select(Notice)).one()
    assert notice.text.startswith("Harbour: succeeded, 1201 products, worth ")
    assert notice.url == f"http://localhost/runs/{run_id}"
    assert notice.text in answer.follow()


def test_it_may_be_processed_again(app: Any, browser: Any, warehouse: int) -> None:
    for _ in range(2):
        browser.get("/").form.submit(status=303)
    with app.registry["dbsession_factory"]() as session:
        assert session.get_one(Warehouse, warehouse).times_processed == 2
