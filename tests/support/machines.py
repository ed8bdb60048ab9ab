"""How a machine asks the API, and what it is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from breakbulk.web.api.contract import ROOT

if TYPE_CHECKING:
    from webtest import TestApp, TestResponse


RUNS = f"{ROOT}/runs"


def refused(answer: TestResponse, status: int, kind: str) -> dict[str, Any]:
    """The problem that an answer tells of."""
    assert answer.status_int == status, f"{answer.request.path_qs}: {answer.text}"
    assert answer.content_type == "application/problem+json"
    problem: dict[str, Any] = answer.json
    assert problem["type"] == f"urn:breakbulk:problem:{kind}"
    assert problem["status"] == status
    return problem


def post(app: TestApp, path: str, body: Any = None, **headers: str) -> TestResponse:
    """Ask for a change; whatever comes of it."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return app.post_json(f"{ROOT}{path}", body or {}, headers=named, expect_errors=True)


def walked(app: TestApp, path: str) -> list[dict[str, Any]]:
    """All items of a list, page by page."""
    items, following = [], path
    while following:
        page = app.get(following, status=200)
        items += page.json["items"]
        following = page.json["next"]
        link = page.headers.get("Link")
        assert link == (None if following is None else f'<{following}>; rel="next"')
        assert len(items) < 1_000, "it never ends"
    return items
