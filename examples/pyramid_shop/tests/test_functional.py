"""The application as a browser sees it; runs are worked on when a request commits."""

from __future__ import annotations

from typing import Any

from conftest import PASSWORD, log_in
from sqlalchemy import select
from sqlalchemy.orm import Session

from pyramid_shop.models import Notice, Product, Warehouse


def test_home(testapp: Any, dbsession: Session) -> None:
    dbsession.add(Warehouse(name="Hill"))
    dbsession.flush()
    page = testapp.get("/", status=200)
    assert "Hill" in page
    assert "never" in page


def test_a_browser_finds_the_icon_that_it_asks_for(testapp: Any) -> None:
    icon = testapp.get("/").html.select_one('link[rel="icon"]')
    assert testapp.get(str(icon["href"]), status=200).content_type == "image/svg+xml"


def test_notfound(testapp: Any) -> None:
    assert "Not found" in testapp.get("/nowhere", status=404)


def test_the_button_needs_its_token(operator: Any, warehouse: int) -> None:
    operator.post(f"/warehouses/{warehouse}/process", status=400)


def press(browser: Any) -> Any:
    form = next(one for one in browser.get("/").forms.values() if one.action.endswith("/process"))
    return form.submit(status=303)


def test_the_whole_warehouse_is_processed(app: Any, operator: Any, warehouse: int) -> None:
    answer = press(operator)
    run_id = int(answer.headers["X-Run"])
    assert operator.get(f"/runs/{run_id}").json["status"] == "succeeded"
    with app.registry["dbsession_factory"]() as session:
        prices = session.execute(select(Product.cost, Product.price)).all()
        assert len(prices) == 1201
        assert all(price == cost * 120 // 100 for cost, price in prices)
        found = session.get_one(Warehouse, warehouse)
        assert found.times_processed == 1
        assert found.processed_at is not None
        notice = session.scalars(select(Notice)).one()
    assert notice.text.startswith("Harbour: succeeded, 1201 products, worth ")
    assert notice.url == f"http://localhost/breakbulk/runs/{run_id}"
    page = answer.follow()
    assert notice.text in page.html.select_one(".banner").text
    assert "succeeded" in page.click(f"^Run {run_id}$")
    assert operator.get("/live").html.select_one(".banner")


def test_it_may_be_processed_again(app: Any, operator: Any, warehouse: int) -> None:
    for _ in range(2):
        press(operator)
    with app.registry["dbsession_factory"]() as session:
        assert session.get_one(Warehouse, warehouse).times_processed == 2


def test_nobody_in_particular_sees_warehouses_and_no_more(browser: Any, warehouse: int) -> None:
    page = browser.get("/")
    assert "Harbour" in page
    assert not page.html.select("form[action$='/process']")
    token = browser.get("/login").forms[0]["csrf_token"].value
    refused = browser.post(f"/warehouses/{warehouse}/process", {"csrf_token": token}, status=303)
    assert refused.location == "http://localhost/login?next=%2F"
    way_in = browser.get("/breakbulk/runs?status=failed", status=303)
    form = way_in.follow().forms[0]
    form["name"], form["password"] = "viewer", PASSWORD
    page = form.submit(status=303).follow()
    assert page.request.path_qs == "/breakbulk/runs?status=failed"
    assert "viewer (may look, not steer)" in page.text


def test_a_viewer_may_not_press_the_button(browser: Any, warehouse: int) -> None:
    log_in(browser, "viewer")
    page = browser.get("/")
    assert not page.html.select("form[action$='/process']")
    token = page.forms[0]["csrf_token"].value
    refused = browser.post(f"/warehouses/{warehouse}/process", {"csrf_token": token}, status=403)
    assert "viewer may not do that" in refused


def test_logging_in_and_out(browser: Any) -> None:
    assert "not a name and its password" in log_in(browser, "operator", "a guess")
    assert "not a name and its password" in log_in(browser, "nobody")
    page = log_in(browser, "operator").follow()
    assert "Log out operator" in page
    assert "Log in" in page.forms[0].submit().follow()


def test_nobody_is_sent_elsewhere(browser: Any) -> None:
    form = browser.get("/login?next=//evil.example/").forms[0]
    form["name"], form["password"] = "operator", PASSWORD
    assert form.submit(status=303).location == "http://localhost/"
