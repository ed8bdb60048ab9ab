"""Text of other people's on every page, in a real browser: it is shown, and does nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

import pytest
from sqlalchemy import insert, select, update
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from breakbulk import RunStatus
from breakbulk.domain.chunk import Bounds, Cut
from breakbulk.domain.webhook import Answer
from tests.browser.conftest import listen

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

    from breakbulk import Chunk, RunHandle
    from tests.support.yard import Yard

#: Breaks out of text, of attributes in either quotes, of scripts, of templates, and of JSON.
EVIL = (
    "</script><script>window.hacked='{0}'</script>"
    "'\"><img src=x onerror=\"window.hacked='{0}'\">"
    "<a href=\"javascript:window.hacked='{0}'\">{0}</a>{{{{7*7}}}}\\u003cscript\\u003e"
)
#: The same where it has to be an address.
EVIL_PATH = "<script>window.hacked='url'</script>'\"><img/src=x/onerror=window.hacked='url'>"
#: What a name may hold that is part of an address.
EVIL_NAME = "<img src=x onerror=window.hacked='name'>\"'{{7*7}}"


def evil(where: str) -> str:
    """Hostile text that tells, if it comes alive, where it has come from."""
    return EVIL.format(where)


class Base(DeclarativeBase):
    """Tables of this test."""


class Parcel(Base):
    """A row with a key that somebody else has chosen."""

    __tablename__ = "parcels"

    code: Mapped[str] = mapped_column(primary_key=True)
    opened: Mapped[int] = mapped_column(default=0)


class Scene(NamedTuple):
    """Runs whose every text is hostile."""

    partial: RunHandle
    cancelled: RunHandle
    going: RunHandle
    paths: list[str]


def unpack(chunk: Chunk[Parcel]) -> None:
    """Fail for every parcel that means no good, with an error of a name to match."""
    for parcel in chunk:
        if "<" in parcel.code:
            kind: Any = type(EVIL_NAME, (Exception,), {"__module__": evil("module")})
            raise kind(evil("message"))


@pytest.fixture
def scene(yard: Yard) -> Scene:
    """A run with rows in quarantine, one that is cancelled, and a worker; hostile all over."""
    Base.metadata.create_all(yard.engine)
    keys = [
        {"code": f"{number:03} {evil('key') if number % 20 == 3 else ''}"} for number in range(60)
    ]
    with yard.engine.begin() as connection:
        connection.execute(insert(Parcel), keys)
    yard.bulk.webhooks.add(f"https://1.1.1.1/{EVIL_PATH}?q={EVIL_PATH}", by=evil("by"))
    job = yard.job(unpack, name=EVIL_NAME, source=lambda: select(Parcel), max_retries=0)
    job.__doc__ = evil("docstring")
    given = job(tag=evil("parameter"))
    partial = yard.bulk.submit(given, submitted_by=evil("who"), idempotency_key=evil("key"))
    yard.settle(partial)
    assert partial.status() is RunStatus.PARTIAL
    cancelled = yard.bulk.submit(job(tag=evil("another")), submitted_by=evil("who"))
    cancelled.pause(by=evil("actor"))
    cancelled.cancel(by=evil("actor"), reason=evil("reason"))
    going = yard.bulk.submit(job(tag=evil("third")), queue=evil("queue"), submitted_by=evil("who"))
    hold(yard, going)
    come_back(yard)
    off = yard.bulk.webhooks.add("https://1.1.1.2/")
    yard.bulk.webhooks.disable(off.endpoint.id, by=evil("switch"))
    workers = yard.ledger.database.schema.workers
    with yard.engine.begin() as connection:
        connection.execute(update(workers).values(host=evil("host"), version=evil("version")))
        # What a worker is called that has left, and a failure's place.
        schema = yard.ledger.database.schema
        connection.execute(update(schema.stays).values(host=evil("left")))
        connection.execute(update(schema.failures).values(place=evil("place"), worker=evil("w")))
    row = partial.errors()[0]
    runs = [f"/runs/{handle.id}" for handle in (partial, cancelled, going)]
    return Scene(
        partial,
        cancelled,
        going,
        [
            *("/", "/runs", "/jobs", "/workers", "/workers?doctor=1"),
            *runs,
            f"{runs[0]}/failures",
            f"{runs[0]}/chunks",
            f"{runs[0]}/chunks/{row.chunk}",
            # One that was done, and one that is in hand.
            f"{runs[0]}/chunks/2",
            f"{runs[2]}/chunks/1",
            "/webhooks",
            f"/webhooks?run={partial.id}",
            *(f"/webhooks/deliveries/{one.id}" for one in yard.bulk.webhooks.deliveries()),
        ],
    )


def hold(yard: Yard, run: RunHandle) -> None:
    """Have a lane at the run's first chunk, whose bounds are hostile, too."""
    lane = yard.lane(run)
    with yard.transaction() as connection:
        yard.ledger.claims.lock(connection, run.id)
        frontier = yard.ledger.claims.frontier(connection, run.id, lane.token)
        cut = Cut(Bounds((evil("after"),), (evil("upto"),)), 10)
        yard.ledger.claims.carve(
            connection, run.id, frontier, [cut], lane=0, owner=uuid4(), exhausts=False
        )


def come_back(yard: Yard) -> None:
    """What was sent outside has been answered, refused, and found nobody."""
    answers = (
        Answer(5, code=200, text=evil("answer")),
        Answer(5, code=410, text=evil("gone")),
        Answer(5, error=evil("error")),
    )
    for answer in answers:
        with yard.transaction() as connection:
            order = yard.ledger.deliveries.claim(connection, 1, 60)
            assert order is not None
            assert yard.ledger.deliveries.note(connection, order, answer, wait=None)
            if not answer.delivered:
                yard.ledger.endpoints.went_wrong(connection, 1, answer)


@pytest.fixture
def tab(browser: Browser, site: str, trouble: list[str]) -> Iterator[Page]:
    """A tab in which the policy that forbids scripts is off: only escaping stands in between."""
    context = browser.new_context(base_url=site, bypass_csp=True)
    page = context.new_page()
    listen(page, trouble)
    yield page
    context.close()
    assert not trouble, trouble


def judge(page: Page) -> None:
    """Nothing of it has come alive."""
    assert page.evaluate("window.hacked") is None
    assert page.locator("img[src='x'], a[href^='javascript:'], script:not([src])").count() == 0
    assert "49" not in page.evaluate(
        "[...document.querySelectorAll('h1, h2')].map(h => h.textContent).join()"
    )


def test_no_page_runs_it(scene: Scene, tab: Page) -> None:
    shown = ""
    for path in scene.paths:
        answer = tab.goto(path)
        assert answer is not None
        assert answer.status == 200, path
        assert "<" in tab.inner_text("main"), f"{path} shows it, though"
        judge(tab)
        shown += tab.inner_text("main")
    told = (
        "url",
        "answer",
        "gone",
        "error",
        "switch",
        "left",
        "host",
        "place",
        "w",
        "after",
        "upto",
    )
    assert [where for where in told if f"window.hacked='{where}'" not in shown] == []


@pytest.mark.thorough
def test_no_report_runs_it(scene: Scene, tab: Page, tmp_path: Path) -> None:
    """Neither does one that was kept and is opened from the disk, where no server says what may."""
    for handle in (scene.partial, scene.cancelled, scene.going):
        text = tab.request.get(f"/runs/{handle.id}/report").text()
        # Even if the policy that is in the file were not minded.
        bare = text.replace("Content-Security-Policy", "X-Nothing")
        for name, content in (("kept", text), ("bare", bare)):
            file = tmp_path / f"{name}-{handle.id}.html"
            file.write_text(content, encoding="utf-8")
            tab.goto(file.as_uri())
            assert "window.hacked=" in tab.inner_text("body"), "it is shown, though"
            judge(tab)


@pytest.mark.thorough
def test_links_to_what_has_such_a_name_lead_there(scene: Scene, tab: Page) -> None:
    tab.goto("/jobs")
    tab.locator("main a", has_text="<img src=x").first.click()
    tab.wait_for_url("**/jobs/*")
    assert "window.hacked='docstring'" in tab.inner_text("main")
    judge(tab)
    tab.goto(f"/runs/{scene.partial.id}")
    tab.locator("table a", has_text="<img src=x").first.click()
    tab.wait_for_url("**/failures?error=*")
    assert tab.locator(".attempts > li").count() > 0
    judge(tab)


@pytest.mark.thorough
def test_what_is_typed_comes_back_as_text(scene: Scene, tab: Page) -> None:
    tab.goto("/jobs")
    tab.locator("main a", has_text="<img src=x").first.click()
    field = tab.get_by_label("tag")
    field.fill(evil("typed"))
    tab.get_by_role("button", name="Plan").click()
    assert field.input_value() == evil("typed")
    judge(tab)
    for query in ("/runs?job=", "/runs?status=", f"/runs/{scene.partial.id}/failures?error="):
        tab.goto(query + EVIL_NAME)
        judge(tab)
