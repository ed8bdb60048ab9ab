"""The page of webhooks: endpoints, their health, what was delivered, and the buttons."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import insert

from breakbulk.domain.webhook import Answer, DeliveryStatus
from breakbulk.ledger.sql import clock
from tests.integration.web.conftest import one

if TYPE_CHECKING:
    from webtest import TestApp

    from breakbulk import RunHandle
    from tests.support.yard import Yard

_URL = "https://1.1.1.1/secret-path?key=hush"


@pytest.fixture
def run(yard: Yard) -> RunHandle:
    """A run whose two events are to be delivered to endpoint 1."""
    yard.bulk.webhooks.add(_URL, by="ana")
    return yard.run()


def come_back(yard: Yard, answer: Answer, *, wait: float | None = None) -> None:
    """Somebody has sent what was due, and this came back."""
    with yard.transaction() as connection:
        order = yard.ledger.deliveries.claim(connection, 1, 60)
        assert order is not None
        assert yard.ledger.deliveries.note(connection, order, answer, wait=wait)
        if not answer.delivered:
            yard.ledger.endpoints.went_wrong(connection, 1, answer)


def token(app: TestApp) -> str:
    return app.cookies["breakbulk_csrf"] or ""


def test_without_any(operator: TestApp) -> None:
    page = operator.get("/webhooks", status=200)
    assert "breakbulk webhooks add URL" in page
    assert "Nothing was to be delivered." in page
    operator.get("/webhooks/deliveries/1", status=404)


def test_endpoints_and_deliveries(
    yard: Yard, run: RunHandle, operator: TestApp, viewer: TestApp
) -> None:
    page = operator.get("/webhooks")
    assert _URL.replace("&", "&amp;") in page
    assert "whsec_" not in page
    # What else is in a URL may be a secret, too.
    page = viewer.get("/webhooks")
    assert "hush" not in page
    assert "secret-path" not in page
    assert "https://1.1.1.1/…" in page
    assert not page.html.select("form[action*=disable]")
    rows = page.html.select("#deliveries ~ table tbody tr")
    assert ["run.succeeded" in str(rows[0]), "run.submitted" in str(rows[1])] == [True, True]
    events = one(operator.get(f"/runs/{run.id}"), "a[href*='/webhooks?run=']")
    page = operator.get(str(events["href"]))
    assert len(page.html.select("#deliveries ~ table tbody tr")) == 2
    assert not operator.get("/webhooks?run=99").html.select("#deliveries ~ table")


def test_one_delivery_with_its_tries(yard: Yard, run: RunHandle, viewer: TestApp) -> None:
    come_back(yard, Answer(7, code=500, text="<script>alert(1)</script>"), wait=5.0)
    page = viewer.get("/webhooks/deliveries/1")
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
    assert "500" in page
    assert "Next try" in page
    assert "run.submitted" in page
    assert not page.html.select("form[action*=replay]")
    assert "failing" in viewer.get("/webhooks")


def test_an_operator_sends_again(yard: Yard, run: RunHandle, operator: TestApp) -> None:
    page = operator.get("/webhooks/deliveries/1")
    assert not page.html.select("form[action*=replay]"), "it is on its way"
    waits = operator.post(
        "/webhooks/deliveries/1/replay", {"csrf_token": token(operator)}, status=409
    )
    assert "still waits" in waits
    come_back(yard, Answer(7, code=204))
    page = operator.get("/webhooks/deliveries/1")
    form = one(page, "form[action$='/webhooks/deliveries/1/replay']")
    answer = operator.post(str(form["action"]), {"csrf_token": token(operator)}, status=303)
    assert str(answer.location).endswith("/webhooks/deliveries/3")
    assert yard.bulk.webhooks.delivery(3).delivery.status is DeliveryStatus.WAITING
    operator.post("/webhooks/deliveries/99/replay", {"csrf_token": token(operator)}, status=404)


def test_an_operator_switches_off_and_on(yard: Yard, run: RunHandle, operator: TestApp) -> None:
    for verb, enabled in (("disable", False), ("enable", True)):
        form = one(operator.get("/webhooks"), f"form[action$='/webhooks/1/{verb}']")
        operator.post(str(form["action"]), {"csrf_token": token(operator)}, status=303)
        assert yard.bulk.webhooks.endpoint(1).enabled is enabled
        assert ("switched off by ana" in operator.get("/webhooks")) is not enabled
    operator.post("/webhooks/99/disable", {"csrf_token": token(operator)}, status=404)


def test_by_pages(yard: Yard, run: RunHandle, viewer: TestApp) -> None:
    deliveries = yard.ledger.database.schema.deliveries
    with yard.transaction() as connection:
        connection.execute(
            insert(deliveries).values(
                [
                    {
                        "event_id": 1,
                        "run_id": run.id,
                        "endpoint_id": 1,
                        "status": "waiting",
                        "not_before": clock(),
                        "created_at": clock(),
                    }
                    for _ in range(118)
                ]
            )
        )
    seen, path = [], "/webhooks?endpoint=1"
    while path:
        page = viewer.get(path)
        rows = page.html.select("#deliveries ~ table tbody tr a[href*='/webhooks/deliveries/']")
        seen.append([int(row.text) for row in rows])
        following = page.html.select_one("a[rel=next]")
        path = "" if following is None else str(following["href"]).partition("#")[0]
    assert [len(numbers) for numbers in seen] == [50, 50, 20]
    assert [number for numbers in seen for number in numbers] == list(range(120, 0, -1))


def test_what_an_address_may_not_ask_for(run: RunHandle, viewer: TestApp) -> None:
    for query in ("run=-1", "run=x", "before=" + "9" * 30, "endpoint=%00", "before=0"):
        viewer.get(f"/webhooks?{query}", status=200)
    viewer.get("/webhooks/deliveries/" + "9" * 18, status=404)
