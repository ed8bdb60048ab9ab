"""The dashboard in the hands of a person."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

import pytest
from playwright.sync_api import TimeoutError, expect  # noqa: A004  (its own)

from breakbulk import Chunk, RunStatus
from tests.browser.conftest import assert_accessible, listen
from tests.integration.runner.test_rescue import held
from tests.support.yard import Boom, failing, touch

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser, Page

    from breakbulk import RunHandle
    from tests.support.yard import Goods, Yard

HOSTILE = "<script>window.hacked=1</script>'\"><img src=x onerror='window.hacked=2'>{{7*7}}"


def bad(chunk: Chunk[Goods]) -> None:
    for row in chunk:
        if row.id == 13:
            raise Boom(HOSTILE)
        row.version += 1


@pytest.fixture
def partial(yard: Yard) -> RunHandle:
    yard.bulk.webhooks.add("https://1.1.1.1/in")
    handle = yard.run(bad, max_retries=0)
    assert handle.status() is RunStatus.PARTIAL
    return handle


def test_a_run_moves_before_ones_eyes_and_comes_to_rest(yard: Yard, page: Page) -> None:
    handle = yard.submit(yard.job(touch))
    page.goto(f"/runs/{handle.id}")
    expect(page.locator(".headline .status")).to_have_text("running")
    expect(page.locator(".map .c-ahead")).to_have_count(25)
    page.evaluate("document.body.dataset.mine = 'the same page'")
    yard.settle(handle)
    expect(page.locator(".headline .status")).to_have_text("succeeded", timeout=30_000)
    expect(page.locator(".map .c-done")).to_have_count(25)
    expect(page.locator(".big .figure")).to_have_text("100.0 %")
    assert page.evaluate("document.body.dataset.mine") == "the same page"
    # What has ended is not looked at any more.
    expect(page.locator("#run")).not_to_have_attribute("hx-trigger", re.compile("."))
    with pytest.raises(TimeoutError), page.expect_request("**", timeout=3_000):
        pass


def test_buttons_do_what_they_say(yard: Yard, page: Page) -> None:
    handle = yard.submit(yard.job(touch))
    page.goto("/")
    page.get_by_role("button", name="Pause").click()
    expect(page.locator(".headline .status")).to_have_text("paused")
    assert handle.status() is RunStatus.PAUSED
    page.get_by_role("button", name="Resume").click()
    expect(page.locator(".headline .status")).to_have_text("running")
    page.get_by_text("Cancel", exact=True).click()
    page.locator("details[open]").get_by_label("Why").fill("the rate was wrong")
    page.get_by_role("button", name=f"Cancel run {handle.id} for good").click()
    expect(page.locator(".headline .status")).to_have_text("cancelled")
    expect(page.locator("p[role=status]")).to_have_text("the rate was wrong")


@pytest.mark.thorough
def test_a_reason_is_given_by_keyboard_alone(yard: Yard, page: Page) -> None:
    handle = yard.submit(yard.job(touch))
    page.goto(f"/runs/{handle.id}")
    page.locator("summary", has_text="Say why").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.type("the shop is open")
    # What is being typed is not taken away.
    with pytest.raises(TimeoutError), page.expect_request("**", timeout=3_000):
        pass
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator(".headline .status")).to_have_text("paused")
    expect(page.locator("p[role=status]").first).to_have_text("the shop is open")
    # The next one has nothing typed in it, and comes to be when the run has moved on by itself.
    handle.resume()
    expect(page.locator(".headline .status")).to_have_text("running", timeout=30_000)
    page.locator("summary", has_text="Say why").click()
    expect(page.locator("details[open]").get_by_label("Why")).to_have_value("")
    expect(page.locator("details[open] button")).to_have_text("Pause")


@pytest.mark.thorough
def test_what_is_being_read_is_not_taken_away(yard: Yard, page: Page) -> None:
    handle = yard.submit(yard.job(failing(1, number=1), max_retries=3, retry_delay=3_600))
    yard.first_crew.work()
    page.goto(f"/runs/{handle.id}/chunks/1")
    page.locator("summary").focus()
    page.keyboard.press("Enter")
    expect(page.locator("details[open] pre")).to_be_visible()
    expect(page.locator(".headline .status")).to_have_text("waiting")
    handle.cancel()
    # Nobody asks as long as it is open.
    with pytest.raises(TimeoutError), page.expect_request("**", timeout=3_000):
        pass
    expect(page.locator("details[open] pre")).to_be_visible()
    page.keyboard.press("Enter")
    expect(page.locator(".headline .status")).to_have_text("cancelled", timeout=30_000)


@pytest.mark.thorough
def test_nobody_asks_from_a_tab_that_is_hidden(yard: Yard, page: Page) -> None:
    handle = yard.submit(yard.job(touch))
    page.goto(f"/runs/{handle.id}")
    expect(page.locator(".headline .status")).to_have_text("running")
    page.evaluate("Object.defineProperty(document, 'hidden', {value: true, configurable: true})")
    with pytest.raises(TimeoutError), page.expect_request("**", timeout=3_000):
        pass
    handle.pause()
    page.evaluate("Object.defineProperty(document, 'hidden', {value: false})")
    expect(page.locator(".headline .status")).to_have_text("paused", timeout=30_000)


@pytest.mark.thorough
def test_how_often_is_chosen(yard: Yard, page: Page) -> None:
    handle = yard.submit(yard.job(touch))
    page.goto(f"/runs/{handle.id}")
    choice = page.get_by_label("Look again every")
    offered = choice.locator("option").all_text_contents()
    assert offered == ["1 s", "2 s", "5 s", "15 s", "60 s", "off"]
    choice.select_option("off")
    expect(page.locator("#run")).not_to_have_attribute("hx-trigger", re.compile("."))
    choice.select_option("1 s")
    expect(page.locator("#run")).to_have_attribute("hx-trigger", "every 1s")


@pytest.mark.thorough
def test_lanes_by_keyboard(yard: Yard, page: Page) -> None:
    handle = yard.submit(yard.job(touch, max_lanes=2))
    page.goto(f"/runs/{handle.id}")
    for name, most in (
        ("One lane more", 3),
        ("One lane fewer", 2),
        ("As many lanes as slots", None),
    ):
        page.get_by_role("button", name=name).focus()
        with page.expect_navigation():
            page.keyboard.press("Enter")
        assert handle.record().max_lanes == most


def test_without_a_script_everything_works(yard: Yard, browser: Browser, site: str) -> None:
    yard.job(touch, name="shelves.count")
    context = browser.new_context(base_url=site, java_script_enabled=False)
    page = context.new_page()
    page.goto("/jobs/shelves.count")
    page.get_by_label(re.compile("^tag")).fill("spring")
    page.get_by_role("button", name="Plan").click()
    expect(page.get_by_text("Nothing has been written yet.")).to_be_visible()
    page.get_by_role("button", name=re.compile("^Start")).click()
    expect(page.locator(".headline .status")).to_have_text("running")
    (run,) = yard.bulk.runs()
    assert run.parameters == {"tag": "spring"}
    # The browser itself looks again, a little less often.
    assert page.locator("noscript meta, meta[http-equiv=refresh]").count() == 1
    page.get_by_role("button", name="Pause").click()
    expect(page.locator(".headline .status")).to_have_text("paused")
    page.get_by_label("Theme").select_option("dark")
    page.get_by_role("button", name="Set").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    # Nothing asks here before it is done, so it takes two steps, and time to type.
    page.get_by_role("link", name="hold it still").click()
    expect(page.locator("meta[http-equiv=refresh]")).to_have_count(0)
    page.get_by_text("Cancel", exact=True).click()
    page.locator("details[open]").get_by_label("Why").fill("not today")
    page.get_by_role("button", name=f"Cancel run {run.id} for good").click()
    expect(page.locator(".headline .status")).to_have_text("cancelled")
    expect(page.get_by_text("not today").first).to_be_visible()
    context.close()


def test_text_from_rows_never_becomes_code(partial: RunHandle, page: Page) -> None:
    (row,) = partial.errors()
    for path in ("", "/failures", f"/chunks/{row.chunk}", "/chunks"):
        page.goto(f"/runs/{partial.id}{path}")
        page.wait_for_load_state("networkidle") if not path else None
        assert page.evaluate("window.hacked") is None
    page.goto(f"/runs/{partial.id}/failures")
    expect(page.locator(".attempts .message").first).to_have_text(HOSTILE)


@pytest.mark.thorough
def test_a_report_stands_alone(
    partial: RunHandle, page: Page, browser: Browser, trouble: list[str], tmp_path: Path
) -> None:
    page.goto(f"/runs/{partial.id}")
    with page.expect_download() as download:
        page.get_by_role("button", name="Report").click()
    kept = tmp_path / download.value.suggested_filename
    download.value.save_as(kept)
    # Offline, from a file, and whatever it might ask for is noted.
    context = browser.new_context(offline=True)
    alone = context.new_page()
    listen(alone, trouble)
    asked: list[str] = []
    alone.on("request", lambda request: asked.append(request.url))
    schemes: list[Literal["light", "dark"]] = ["light", "dark"]
    for scheme in schemes:
        alone.emulate_media(color_scheme=scheme)
        alone.goto(kept.as_uri())
        expect(alone.locator("h1")).to_contain_text(f"Run {partial.id}")
        assert alone.evaluate("window.hacked") is None
        expect(alone.locator(".kind .message").first).to_have_text(HOSTILE)
        expect(alone.locator(".map i")).to_have_count(25)
        assert alone.evaluate("getComputedStyle(document.body).maxWidth") != "none", "no style"
    assert set(asked) == {kept.as_uri()}
    context.close()


def test_by_keyboard_alone(yard: Yard, partial: RunHandle, page: Page) -> None:
    page.goto("/")
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    for keys, path in (("gr", "/runs"), ("gj", "/jobs"), ("gw", "/workers"), ("go", "/")):
        for key in keys:
            page.keyboard.press(key)
        page.wait_for_url(f"**{path}")
    page.goto("/runs")
    page.keyboard.press("/")
    expect(page.get_by_label("Job")).to_be_focused()
    # From the run to its failures and to the button that tries them again.
    page.goto(f"/runs/{partial.id}")
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent").startswith("Retry 1"):
            break
    page.keyboard.press("Enter")
    expect(page.locator(".headline .status")).to_have_text("running")
    assert partial.record().round == 2


@pytest.mark.parametrize(
    ("scheme", "width"),
    [
        ("dark", 390),
        pytest.param("light", 1280, marks=pytest.mark.thorough),
        pytest.param("light", 390, marks=pytest.mark.thorough),
        pytest.param("dark", 1280, marks=pytest.mark.thorough),
    ],
)
def test_every_screen_is_accessible_and_fits(
    yard: Yard,
    partial: RunHandle,
    paced: RunHandle,
    browser: Browser,
    site: str,
    trouble: list[str],
    scheme: str,
    width: int,
) -> None:
    going = yard.submit(yard.job(touch, name="a.job"))
    held(yard, going, yard.lane(going))
    retried = yard.run(failing(2), max_retries=3)
    (row,) = partial.errors()
    context = browser.new_context(
        base_url=site,
        color_scheme="dark" if scheme == "dark" else "light",
        viewport={"width": width, "height": 800},
    )
    page = context.new_page()
    listen(page, trouble)
    for path in (
        "/",
        "/runs",
        "/jobs",
        "/jobs/a.job",
        "/workers",
        "/workers?doctor=1",
        f"/runs/{going.id}",
        f"/runs/{paced.id}",
        f"/runs/{partial.id}",
        f"/runs/{partial.id}/chunks",
        f"/runs/{partial.id}/chunks/{row.chunk}",
        # In hand, still to come, and done at the third attempt.
        f"/runs/{going.id}/chunks/1",
        f"/runs/{going.id}/chunks/2",
        f"/runs/{retried.id}/chunks/2",
        f"/runs/{partial.id}/failures",
        "/webhooks",
        "/webhooks/deliveries/1",
    ):
        page.goto(path)
        assert_accessible(page, width)
    context.close()
    assert not trouble, trouble
