"""Runs of a canvas as operators see them: by the names of its tasks, and what is promised."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from breakbulk.canvas import chord
from breakbulk.errors import CanvasError
from tests.integration.canvas.conftest import Team

if TYPE_CHECKING:
    from webtest import TestApp

    from breakbulk.canvas import CanvasResult
    from tests.support.yard import Yard


@pytest.fixture
def handle(yard: Yard) -> CanvasResult:
    """A chord that has ended, one part of it badly."""
    team = Team(yard)
    team.broken = {2}
    parts = [team.add.s(n, 777) for n in (1, 2)]
    made = chord(parts, team.tell.s("secret words"), on_failure="isolate").apply_async()
    team.settle(made)
    return made


def test_the_dashboard(viewer: TestApp, handle: CanvasResult) -> None:
    page = viewer.get(f"/runs/{handle.id}")
    assert "At least once: a task manages its own transaction" in page
    for shown in ("celery.canvas", "team.add", "team.tell", "ValueError"):
        assert shown in page
    assert "secret words" not in page
    assert "team.add" in viewer.get("/runs")
    report = viewer.get(f"/runs/{handle.id}/report")
    assert "at least once: a task manages" in report
    assert "secret words" not in report
    assert "no jobs" in viewer.get("/jobs"), "it is none that anybody has declared"


def test_it_is_started_by_applying_it(handle: CanvasResult) -> None:
    job = handle.bulk.jobs.get("celery.canvas").cls()
    with pytest.raises(CanvasError, match="started by applying it"):
        handle.bulk.submit(job)
