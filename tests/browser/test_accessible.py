"""What one has to open, type or get wrong first is as accessible as the rest."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import NOBODY, assert_accessible
from tests.support.yard import touch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

    from tests.support.yard import Yard


@pytest.fixture(params=[pytest.param("light", marks=pytest.mark.thorough), "dark"])
def scheme(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture(params=[390, pytest.param(1280, marks=pytest.mark.thorough)])
def width(request: pytest.FixtureRequest) -> int:
    found: int = request.param
    return found


@pytest.fixture
def screen(browser: Browser, site: str, scheme: str, width: int) -> Iterator[Page]:
    """A tab whose console may say what went wrong."""
    context = browser.new_context(
        base_url=site,
        color_scheme="dark" if scheme == "dark" else "light",
        viewport={"width": width, "height": 800},
    )
    yield context.new_page()
    context.close()


@pytest.mark.thorough
def test_the_start_form(yard: Yard, screen: Page, width: int) -> None:
    yard.job(touch, name="a.job")
    screen.goto("/jobs/a.job")
    screen.get_by_role("button", name="Plan").click()
    expect(screen.get_by_text("Nothing has been written yet.")).to_be_visible()
    assert_accessible(screen, width)
    screen.locator("summary", has_text="Limits").click()
    screen.get_by_label("Rows a second").fill("many")
    screen.get_by_role("button", name="Start").click()
    expect(screen.locator(".trouble")).to_contain_text("is no number")
    expect(screen.get_by_label("Rows a second")).to_be_visible()
    assert_accessible(screen, width)


@pytest.mark.thorough
def test_what_is_opened_on_the_page_of_a_run(yard: Yard, screen: Page, width: int) -> None:
    handle = yard.submit(yard.job(touch))
    screen.goto(f"/runs/{handle.id}")
    for words in ("Say why", "Cancel", "Change its limits"):
        screen.locator("summary", has_text=re.compile(f"^{words}$")).click()
    expect(screen.locator("details[open]")).to_have_count(3)
    assert_accessible(screen, width)


@pytest.mark.thorough
def test_pages_that_say_what_went_wrong(yard: Yard, screen: Page, width: int) -> None:
    handle = yard.submit(yard.job(touch, max_lanes=2))
    screen.goto("/elsewhere")
    expect(screen.locator("h1")).to_have_text("Not found")
    assert_accessible(screen, width)
    screen.goto(f"/runs/{handle.id}")
    more = screen.get_by_role("button", name="One lane more")
    more.evaluate("button => button.value = 'many'")
    more.click()
    expect(screen.locator("main p").first).to_contain_text("no number of lanes")
    assert_accessible(screen, width)
    screen.context.set_extra_http_headers({NOBODY: "1"})
    screen.goto("/")
    expect(screen.locator("h1")).to_have_text("Who is there?")
    assert_accessible(screen, width)
