"""The first page: how much goes on, and what is in its way."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import Select, insert, select, update

from breakbulk import RunStatus
from breakbulk.ledger.sql import clock
from tests.integration.runner.test_rescue import held
from tests.integration.web.conftest import one
from tests.support.yard import Goods

if TYPE_CHECKING:
    from webtest import TestApp, TestResponse

    from breakbulk import Chunk
    from tests.support.yard import Yard


class Dusting:
    """Dust every shelf.

    Once a year.
    """

    def source(self) -> Select[tuple[Goods]]:
        return select(Goods)

    def process(self, chunk: Chunk[Goods]) -> None: ...


def tiles(page: TestResponse) -> dict[str, str]:
    """What the tiles say, by their titles."""
    return {
        one.dt.text: " ".join(one.dd.get_text(" ").split())
        for one in page.html.select(".tiles > div")
        if one.dt and one.dd
    }


def test_what_is_not_listed_is_counted_all_the_same(
    yard: Yard, viewer: TestApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    handles = [yard.submit(yard.job()) for _ in range(3)]
    crew = yard.crew(slots=5)
    for handle in handles:
        yard.lane(handle, crew=crew)
    page = viewer.get("/")
    assert tiles(page)["Active runs"] == "3"
    assert "newest" not in page.html.text
    assert len(page.html.select("[aria-labelledby=active] tbody tr")) == 3
    monkeypatch.setattr("breakbulk.web.views.overview._ACTIVE", 2)
    page = viewer.get("/")
    assert len(page.html.select("[aria-labelledby=active] tbody tr")) == 2
    told = tiles(page)
    assert told["Active runs"] == "3"
    assert told["Lanes at work"] == "3 of 5 slots"
    assert told["Rows a second"].endswith("of the newest 2 active runs")
    assert told["Failed chunks"].endswith("of the newest 2 active runs")
    assert "Of 3 active runs only the newest 2 are listed here" in one(page, "p.note").text
    assert len(page.click("all are in the list of runs").html.select("table.runs tbody tr")) == 3


def test_a_run_that_is_held_says_why(yard: Yard, operator: TestApp) -> None:
    going = yard.submit(yard.job())
    with yard.transaction() as connection:
        yard.ledger.runs.move(
            connection,
            going.id,
            RunStatus.HELD,
            actor="lane",
            reason="nothing succeeds any more\nand more of that",
        )
    page = operator.get("/")
    told = one(page, "p.warning").get_text(" ").split()
    assert " ".join(told) == f"Run #{going.id} is held: nothing succeeds any more."
    assert str(one(page, "p.warning a")["href"]) == f"/runs/{going.id}"
    assert "Resume" in one(page, "[aria-labelledby=active] td.verbs").text
    assert "nothing succeeds any more" in one(operator.get(f"/runs/{going.id}"), ".trouble").text


def test_a_queue_that_no_worker_consumes_is_a_warning(yard: Yard, viewer: TestApp) -> None:
    yard.crew()
    going = yard.submit(yard.job(), queue="at night")
    for path in ("/", f"/runs/{going.id}"):
        assert "no worker consumes the queue" in one(viewer.get(path), ".warning").text, path


def test_at_forty_per_cent_the_total_is_an_estimate_and_the_time_left_a_range(
    yard: Yard, viewer: TestApp
) -> None:
    going = yard.submit(yard.job())
    held(yard, going, yard.lane(going))
    schema = yard.ledger.database.schema
    chunks, tallies = schema.chunks, schema.tallies
    with yard.transaction() as connection:
        connection.execute(update(schema.runs).values(rows_estimate=25))
        connection.execute(
            update(chunks).where(chunks.c.number == 1).values(status="succeeded", owner=None)
        )
        # Of a steady pace: as many rows in the last seconds as in those before.
        for ago in (9, 7, 5, 3, 1):
            row = {"run_id": going.id, "lane": 0, "chunks": int(ago == 1), "rows": 2}
            connection.execute(insert(tallies).values(**row, at=clock(-ago)))
    page = viewer.get(f"/runs/{going.id}")
    told = tiles(page)
    assert one(page, ".big .figure").text == "40.0 %"
    assert told["Rows"] == "10 of ≈ 25"
    assert re.fullmatch(r"\d+ to \d+ s", told["Time left"]), told
    assert told["Chunks"] == "1 done, 2 carved"
    listed = one(viewer.get("/"), "[aria-labelledby=active] tbody tr").get_text(" ")
    assert "≈ 25 rows" in listed
    assert " to " in listed


def test_the_slowest_chunks_lead_to_theirs(yard: Yard, viewer: TestApp) -> None:
    handle = yard.run(chunk_size=5)
    chunks = yard.ledger.database.schema.chunks
    with yard.transaction() as connection:
        connection.execute(update(chunks).values(seconds=chunks.c.number * 60.0))
    page = viewer.get(f"/runs/{handle.id}")
    slowest = page.html.select("[aria-labelledby=slowest] li")
    assert [item.a.text for item in slowest if item.a] == ["5", "4", "3", "2", "1"]
    assert "5 min" in slowest[0].text
    viewer.get(str(one(page, "[aria-labelledby=slowest] a")["href"]), status=200)


def test_parameters_are_shown(yard: Yard, viewer: TestApp) -> None:
    handle = yard.bulk.submit(yard.job()(tag="spring <b>"))
    page = viewer.get(f"/runs/{handle.id}")
    (shown,) = page.html.select("[aria-labelledby=facts] dl.facts")[0].select("div")
    assert [shown.dt and shown.dt.text, shown.dd and shown.dd.text] == ["tag", '"spring <b>"']


def test_a_run_that_is_late_says_so_and_can_be_ended_at_once(yard: Yard, operator: TestApp) -> None:
    handle = yard.submit(yard.job(), finish_by=0.001)
    yard.lane(handle)
    page = operator.get(f"/runs/{handle.id}")
    assert "late at this pace" in page
    assert not page.html.select("details#force")
    handle.cancel()
    page = operator.get(f"/runs/{handle.id}")
    assert handle.status() is RunStatus.CANCELLING
    assert "is rolled back" in one(page, "details#force").text
    (form,) = [form for form in page.forms.values() if form.action.endswith("/force")]
    form.submit().follow()
    assert yard.rows_of("runs")[0]["forced"]


def test_a_job_shows_its_text_and_its_source(yard: Yard, viewer: TestApp) -> None:
    # A class of its own each time: declaring makes it a frozen dataclass.
    declared = type("Dusting", (), {**vars(Dusting), "__module__": __name__})
    yard.bulk.job(name="shelves.dust")(declared)
    page = viewer.get("/jobs/shelves.dust")
    assert one(page, ".doc").text.splitlines()[:3] == ["Dust every shelf.", "", "Once a year."]
    assert "def process(self, chunk" in one(page, "main > details pre").text
    assert "Dust every shelf." in viewer.get("/jobs")
