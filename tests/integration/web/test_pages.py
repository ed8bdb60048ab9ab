"""Every screen on real runs, with forms that are filled and buttons that are pressed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import update

from breakbulk import Chunk, Items, RunStatus
from tests.integration.web.conftest import one, part
from tests.support.yard import Boom, touch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from webtest import TestApp, TestResponse

    from breakbulk import RunHandle
    from tests.support.yard import Goods, Yard

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"


def bad(chunk: Chunk[Goods]) -> None:
    """A process that fails for one row, with a message that means no good."""
    for row in chunk:
        if row.id == 13:
            raise Boom(HOSTILE)
        row.version += 1


@pytest.fixture
def partial(yard: Yard) -> RunHandle:
    """A run with one row in quarantine."""
    handle = yard.run(bad, max_retries=0)
    assert handle.status() is RunStatus.PARTIAL
    return handle


def press(page: TestResponse, verb: str) -> TestResponse:
    """Press a button, and see where it leads."""
    (form,) = {
        index: form for index, form in page.forms.items() if form.action.endswith(f"/{verb}")
    }.values()
    return form.submit().follow()


def test_an_empty_installation_says_what_to_do(viewer: TestApp) -> None:
    page = viewer.get("/")
    assert "Nothing goes on." in page
    assert "No run has ended yet." in page
    assert "There are no runs yet." in viewer.get("/runs")
    assert "No worker is running" in viewer.get("/workers")
    assert "no jobs" in viewer.get("/jobs")


def test_the_overview_shows_what_goes_on_and_what_has_ended(
    yard: Yard, operator: TestApp, partial: RunHandle
) -> None:
    going = yard.submit(yard.job())
    page = operator.get("/")
    assert f"/runs/{going.id}" in page
    assert f"/runs/{partial.id}" in page
    assert "24 of 25 rows" in page
    assert one(page, "table.runs .s-running")


def test_a_run_that_nobody_can_work_on_is_a_warning(yard: Yard, viewer: TestApp) -> None:
    yard.submit(yard.job())
    assert "no worker is running" in one(viewer.get("/"), ".warning").text


def test_a_run_is_paused_resumed_and_cancelled(yard: Yard, operator: TestApp) -> None:
    going = yard.submit(yard.job())
    url = f"/runs/{going.id}"
    page = press(operator.get(url), "pause")
    assert going.status() is RunStatus.PAUSED
    page = press(page, "resume")
    assert going.status() is RunStatus.RUNNING
    page = press(page, "cancel")
    assert going.status() is RunStatus.CANCELLED
    by = {did.actor for did in going.activity() if did.verb in {"pausing", "resumed", "cancelling"}}
    assert by == {"ana"}, "in the name of whoever pressed the button"
    assert not [form for form in page.forms.values() if "/runs/" in form.action]


def test_a_run_gets_more_lanes_and_fewer(yard: Yard, operator: TestApp, viewer: TestApp) -> None:
    going = yard.submit(yard.job(max_lanes=2))

    def push(name: str) -> None:
        page = operator.get(f"/runs/{going.id}")
        form = next(form for form in page.forms.values() if form.action.endswith("/lanes"))
        buttons = [button["aria-label"] for button in one(page, "form.lanes").select("button")]
        form.submit("lanes", index=buttons.index(name)).follow()

    push("One lane more")
    assert going.record().max_lanes == 3
    push("One lane fewer")
    push("One lane fewer")
    assert going.record().max_lanes == 1
    push("As many lanes as slots")
    assert going.record().max_lanes is None
    assert {did.actor for did in going.activity() if did.verb == "lanes"} == {"ana"}
    assert not viewer.get(f"/runs/{going.id}").html.select("form.lanes")
    token = operator.cookies["breakbulk_csrf"] or ""
    for nonsense in ("", "x", "0", "-1", "1e9", "9" * 30):
        given = {"csrf_token": token, "lanes": nonsense}
        assert "number" in operator.post(f"/runs/{going.id}/lanes", given, status=422)


def test_what_failed_is_tried_again(yard: Yard, operator: TestApp, partial: RunHandle) -> None:
    page = operator.get(f"/runs/{partial.id}")
    assert "Retry 1 failed chunk" in page
    press_form = next(form for form in page.forms.values() if form.action.endswith("/retry"))
    press_form.submit().follow()
    assert partial.record().round == 2


def test_failures_lead_to_the_chunk_and_its_rows(
    viewer: TestApp, operator: TestApp, partial: RunHandle
) -> None:
    page = viewer.get(f"/runs/{partial.id}/failures?error=tests.support.yard.Boom")
    assert "[13]" in page
    (row,) = partial.errors()
    chunk = viewer.get(f"/runs/{partial.id}/chunks/{row.chunk}")
    assert "SELECT *" in chunk
    assert "goods.id" in chunk
    assert "13" in one(chunk, "[aria-labelledby=sql] pre").text
    assert "Traceback" in chunk
    assert "Retry this chunk" not in chunk
    assert "Retry this chunk" in operator.get(f"/runs/{partial.id}/chunks/{row.chunk}")


def test_chunks_by_pages_and_by_status(yard: Yard, viewer: TestApp, partial: RunHandle) -> None:
    rows = viewer.get(f"/runs/{partial.id}/chunks").html.select("tbody tr")
    assert len(rows) == yard.count("chunks")
    failed = viewer.get(f"/runs/{partial.id}/chunks?status=failed").html.select("tbody tr")
    assert len(failed) == 1
    from_two = viewer.get(f"/runs/{partial.id}/chunks?from=2").html.select("tbody tr td a")
    assert from_two[0].text == "2"


def test_a_cell_of_the_map_leads_behind_all_parts_of_the_chunk_before(
    yard: Yard, viewer: TestApp
) -> None:
    handle = yard.run()
    part(yard, handle, "a", "b", "ba1")
    first = viewer.get(f"/runs/{handle.id}/chunks?from=3").html.select("tbody tr td a")[0]
    assert first.text == "3"


def test_a_job_is_planned_and_started_once(yard: Yard, operator: TestApp) -> None:
    job = yard.job(touch, name="shelves.count")
    page = operator.get("/jobs/shelves.count")
    assert "def source" not in page, "a class that was made at run time has no source"
    form = next(form for form in page.forms.values() if "p.tag" in form.fields)
    form["p.tag"] = "spring"
    planned = form.submit("act", value="plan")
    assert "Nothing has been written yet." in planned
    assert yard.count("runs") == 0
    form = next(form for form in planned.forms.values() if "p.tag" in form.fields)
    assert form["p.tag"].value == "spring"
    first, again = form.submit("act", value="start"), form.submit("act", value="start")
    assert first.location == again.location, "pressing twice starts one run"
    (run,) = yard.bulk.runs()
    assert (run.parameters, run.submitted_by) == ({"tag": "spring"}, "ana")
    assert job is not None


def test_a_plan_of_items_says_that_they_are_still_to_be_read(yard: Yard, operator: TestApp) -> None:
    yard.job(touch, name="shelves.lines", source=lambda: Items(range(5)))
    page = operator.get("/jobs/shelves.lines")
    form = next(form for form in page.forms.values() if "p.tag" in form.fields)
    plan = one(form.submit("act", value="plan"), ".plan").text
    assert plan.count("unknown until its items are read") == 2
    assert "no rows" not in plan


def test_an_iterable_that_ended_early_is_gone_on_with_by_the_same_form(
    yard: Yard, operator: TestApp
) -> None:
    broken = [True]

    def lines() -> Iterator[int]:
        yield from range(3)
        if broken.pop():
            raise Boom("the feed is gone")
        yield from range(3, 5)

    yard.job(lambda _chunk: None, name="shelves.feed", source=lambda: Items(lines()))
    page = operator.get("/jobs/shelves.feed")
    form = next(form for form in page.forms.values() if "p.tag" in form.fields)
    failed = form.submit("act", value="start", status=422)
    assert "ended early at item 3" in one(failed, ".trouble").text
    assert failed.html.select_one('form.start a[href="/runs/1"]') is not None
    assert "Go on with run 1" in one(failed, 'button[value="start"]').text
    yard.settle(yard.bulk.run(1))
    broken.append(False)
    again = next(form for form in failed.forms.values() if "p.tag" in form.fields)
    assert str(again.submit("act", value="start").location).endswith("/runs/1")
    yard.settle(yard.bulk.run(1))
    summary = yard.bulk.run(1).record().summary
    assert summary is not None
    assert summary.rows_done == 5


def test_a_process_with_older_code_says_so(yard: Yard, viewer: TestApp) -> None:
    handle = yard.run(touch)
    hidden = "this web process does not know the job"
    assert hidden not in viewer.get(f"/runs/{handle.id}").text
    runs = yard.ledger.database.schema.runs
    with yard.transaction() as connection:
        connection.execute(update(runs).values(job="shelves.newer"))
    assert hidden in viewer.get(f"/runs/{handle.id}").text
    missing = viewer.get("/jobs/shelves.newer", status=404)
    assert "restart it after a deploy" in missing.text


def test_what_does_not_fit_is_told_beside_what_was_typed(yard: Yard, operator: TestApp) -> None:
    yard.run()
    name = yard.bulk.runs()[0].job
    yard.submit(yard.bulk.jobs.get(name).cls)
    page = operator.get(f"/jobs/{name}")
    form = next(form for form in page.forms.values() if "p.tag" in form.fields)
    refused = form.submit("act", value="start", status=422)
    assert "still" in one(refused, ".trouble").text
    assert yard.count("runs") == 2


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/runs/999", 404),
        ("/runs/999/chunks", 404),
        ("/runs/99999999999999999999", 404),
        ("/jobs/nobody", 404),
        ("/elsewhere", 404),
        ("/static/0123456789ab/breakbulk.css", 404),
        ("/runs/1/chunks/1.2", 404),
    ],
)
def test_what_is_not_there_is_one_sentence(viewer: TestApp, path: str, status: int) -> None:
    page = viewer.get(path, status=status)
    assert len(page.html.select("main p")) == 2
    assert "Traceback" not in page


@pytest.mark.parametrize(
    "query",
    [
        "runs?before=x&status=nothing&job=%3Cb%3E",
        "runs?before=99999999999999999999999",
        "runs/{run}/chunks?after=x.y&status=zzz",
        "runs/{run}/chunks?from=99999999999",
        "runs/{run}/failures?error=%00&after=-1",
    ],
)
def test_nonsense_in_a_query_is_put_up_with(
    viewer: TestApp, partial: RunHandle, query: str
) -> None:
    viewer.get("/" + query.format(run=partial.id), status=200)


def test_text_from_rows_is_never_code(viewer: TestApp, partial: RunHandle) -> None:
    (row,) = partial.errors()
    for path in ("", "/failures", f"/chunks/{row.chunk}"):
        page = viewer.get(f"/runs/{partial.id}{path}")
        assert "<script>alert" not in page.text
        assert "<img src=x" not in page.text
        assert "alert(1)" in page.text, "it is shown, though"
        assert all(script.get("src") for script in page.html.select("script"))
        assert not page.html.select("[style], [onclick], [onerror]")


def test_a_report_holds_everything_and_needs_nothing(
    yard: Yard, viewer: TestApp, partial: RunHandle
) -> None:
    going = yard.submit(yard.job(touch, name="a.job"))
    lane = yard.lane(going)
    for run in (partial, going):
        assert f"/runs/{run.id}/report" in viewer.get(f"/runs/{run.id}")
        answer = viewer.get(f"/runs/{run.id}/report")
        assert answer.headers["Content-Disposition"] == f'attachment; filename="run-{run.id}.html"'
        page = answer.html
        assert not page.select("script, link, img, iframe, object, [src], [href], [style], form")
        assert len(page.select("style")) == 1
        assert one(answer, "h1 .status").text == run.status()
        assert page.select(".map i")
    assert f"process {lane.pid}" in answer
    answer = viewer.get(f"/runs/{partial.id}/report")
    text = answer.html.get_text(" ")
    for said in ("24 of 25", "[13]", "tests.support.yard.Boom", "Traceback (most recent", HOSTILE):
        assert said in text or said.replace(" of ", "of ") in text, said
    assert "<script>alert" not in answer.text
    assert len(answer.html.select("article.kind")) == len(partial.failure_groups())


def test_what_a_report_leaves_out_it_says(
    yard: Yard, viewer: TestApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hopeless(chunk: Chunk[Goods]) -> None:
        for row in chunk:
            if row.id in {3, 13, 23}:
                raise Boom

    handle = yard.run(hopeless, max_retries=0)
    monkeypatch.setattr("breakbulk.web.report.ROWS", 2)
    page = viewer.get(f"/runs/{handle.id}/report")
    assert "And 1 row more" in page


def numbers(page: TestResponse) -> list[str]:
    """The runs that a page lists."""
    return [link.text for link in page.html.select("table.runs td[data-label=Run] a")]


def test_runs_are_searched_for(yard: Yard, viewer: TestApp, partial: RunHandle) -> None:
    job = yard.job(touch, name="a.job")
    ana = yard.bulk.submit(job(tag="1"), submitted_by="ana")
    ben = yard.bulk.submit(job(tag="2"), submitted_by="ben")
    ben.cancel()
    old = yard.bulk.submit(job(tag="3"), submitted_by="ana")
    long_ago = datetime(2020, 1, 1, tzinfo=UTC)
    runs = yard.ledger.database.schema.runs
    with yard.engine.begin() as connection:
        connection.execute(update(runs).where(runs.c.id == old.id).values(submitted_at=long_ago))
    for query, found in (
        ("", [old, ben, ana, partial]),
        ("job=a.job", [old, ben, ana]),
        ("by=ana", [old, ana]),
        ("by=ana&since=24+h", [ana]),
        ("status=active", [old, ana]),
        ("status=ended", [ben, partial]),
        ("status=cancelled&job=a.job&by=ben&since=1+h", [ben]),
        ("by=nobody", []),
        ("since=nonsense&status=nonsense", [old, ben, ana, partial]),
    ):
        page = viewer.get(f"/runs?{query}")
        assert numbers(page) == [f"#{one.id}" for one in found], query
    page = viewer.get("/runs?job=a.job&by=ana&status=active&since=24+h")
    form = page.forms[1]
    chosen = [form[name].value for name in ("job", "by", "status", "since")]
    assert chosen == ["a.job", "ana", "active", "24 h"]
    assert viewer.get("/").html.select("form.filter")


def test_the_overview_counts_what_failed_in_a_day(
    yard: Yard, viewer: TestApp, partial: RunHandle
) -> None:
    def failed() -> str:
        tiles = [tile.get_text(" ").split() for tile in viewer.get("/").html.select(".tiles > div")]
        return next(words[2] for words in tiles if words[0] == "Failed")

    assert failed() == "1"
    runs = yard.ledger.database.schema.runs
    with yard.engine.begin() as connection:
        long_ago = datetime(2020, 1, 1, tzinfo=UTC)
        connection.execute(update(runs).values(finished_at=long_ago))
    assert failed() == "0"
    partial.retry()
    assert failed() == "0", "what is tried again has not failed"


def test_a_job_shows_how_long_its_runs_took(yard: Yard, viewer: TestApp) -> None:
    job = yard.job(touch, name="a.job")
    for number in range(3):
        yard.settle(yard.bulk.submit(job(tag=str(number))))
        bars = viewer.get("/jobs/a.job").html.select(".spark rect")
        assert len(bars) == (number + 1 if number else 0)
    assert max(float(str(bar["height"])) for bar in bars) == 40
    assert "Run 1, succeeded" in bars[0].text


def test_what_was_tried_again_tells_nothing_of_how_long_a_run_takes(
    yard: Yard, viewer: TestApp, partial: RunHandle
) -> None:
    name = partial.record().job
    again = yard.bulk.submit(yard.bulk.jobs.get(name).cls(tag="x"))
    yard.settle(again)
    assert len(viewer.get(f"/jobs/{name}").html.select(".spark rect")) == 2
    partial.retry()
    yard.settle(partial)
    assert not viewer.get(f"/jobs/{name}").html.select(".spark rect")
    assert "over 2 rounds" in viewer.get(f"/runs/{partial.id}").text
    assert [one.verb for one in partial.activity() if one.verb in {"retried", "running"}] == [
        "retried"
    ]


def test_from_one_failed_chunk_to_the_next(yard: Yard, viewer: TestApp) -> None:
    def worse(chunk: Chunk[Goods]) -> None:
        for row in chunk:
            if row.id in {3, 4, 13, 23}:
                raise Boom

    handle = yard.run(worse, max_retries=0)
    names = [row.chunk for row in handle.errors()]
    order = sorted(names, key=lambda name: name.partition(".")[::2])
    assert len(order) == 4
    page = viewer.get(f"/runs/{handle.id}/chunks/{order[0]}")
    seen = [order[0]]
    assert not page.html.select("[rel=prev]")
    while page.html.select("[rel=next]"):
        page = page.click(linkid=None, description="failed next")
        seen.append(page.request.path.rpartition("/")[2])
    assert seen == order
    assert str(one(page, "[rel=prev]")["href"]).endswith(order[-2])


def test_workers_and_how_they_are(yard: Yard, viewer: TestApp) -> None:
    going = yard.submit(yard.job())
    crew = yard.crew(slots=3)
    yard.lane(going, crew=crew)
    page = viewer.get("/workers")
    row = one(page, "main tbody tr").text
    assert "alive" in row
    assert f"#{going.id}/0" in row
    assert "threads" in row
    text = page.html.get_text(" ")
    assert "The oldest run that is kept" in text
    if yard.engine.dialect.name == "postgresql":
        assert "leads" in row
        assert "lease for" in row
        *largest, others = page.html.select(".sizes tbody tr")
        assert "runs" in {row.code.text for row in largest if row.code}
        assert len(largest) == 8
        assert "others" in others.text
    with yard.engine.begin() as connection:
        workers = yard.ledger.database.schema.workers
        connection.execute(
            update(workers).values(version="0.0.1", lease_until=datetime(2020, 1, 1, tzinfo=UTC))
        )
    page = viewer.get("/workers")
    assert "also 0.0.1" in page
    if yard.engine.dialect.name == "postgresql":
        assert "silent" in one(page, "main tbody tr").text
        assert "lease ran out" in page
    looked = viewer.get("/workers?doctor=1")
    assert looked.html.select(".findings li")
    assert not looked.html.select("[hx-get]"), "nobody asks the broker every other second"


def test_a_look_that_finds_nothing_new_is_304(
    yard: Yard, viewer: TestApp, partial: RunHandle
) -> None:
    url, asks = f"/runs/{partial.id}", {"HX-Request": "true"}
    first = viewer.get(url, headers=asks)
    assert "<html" not in first.text
    tag = first.headers["HX-PTag"]
    viewer.get(url, headers={**asks, "HX-PTag": tag}, status=304)
    partial.retry()
    assert viewer.get(url, headers={**asks, "HX-PTag": tag}).headers["HX-PTag"] != tag


def test_a_page_stops_looking_when_its_run_has_ended(
    yard: Yard, viewer: TestApp, partial: RunHandle
) -> None:
    going = yard.submit(yard.job())
    assert one(viewer.get(f"/runs/{going.id}"), "#run").get("hx-trigger") == "every 2s"
    assert one(viewer.get(f"/runs/{partial.id}"), "#run").get("hx-trigger") is None


def test_a_run_lists_its_events(yard: Yard, viewer: TestApp, partial: RunHandle) -> None:
    page = viewer.get(f"/runs/{partial.id}")
    assert "nobody outside was to be told" in page
    yard.bulk.webhooks.add("https://1.1.1.1/in")
    handle = yard.submit(yard.job())
    handle.pause()
    handle.resume()
    yard.settle(handle)
    page = viewer.get(f"/runs/{handle.id}")
    told = [item.b.text for item in page.html.select("[aria-labelledby=events] li") if item.b]
    assert told == ["run.succeeded", "run.paused", "run.submitted"]
    assert one(page, "[aria-labelledby=events] li .status").text == "waiting"
    link = str(one(page, "[aria-labelledby=events] li a")["href"])
    assert "run.succeeded" in viewer.get(link)
    assert "run.paused" in viewer.get(f"/runs/{handle.id}/report")
