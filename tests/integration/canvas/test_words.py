"""Somebody who has written a group reads of parts, a header and a body, and of nothing else."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from celery.exceptions import TimeoutError as CeleryTimeout

from breakbulk.canvas import chord, group
from breakbulk.console import words
from breakbulk.domain.chunk import Bounds, Cut
from breakbulk.domain.failure import Failure
from breakbulk.errors import PartFailed, SourceError, StateError
from breakbulk.runner.rescue import rescue
from breakbulk.runner.runtime import live_lanes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.canvas.conftest import Team

_OTHERS = re.compile(r"\b(chunk|row|item|source|callback|submit)s?\b|process\(\)")


@pytest.fixture(autouse=True)
def said(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """Sentences that are looked at when the test ends, with all that was logged."""
    sentences: list[str] = []
    with caplog.at_level(logging.DEBUG, "breakbulk"):
        yield sentences
    sentences += [record.getMessage() for record in caplog.get_records("call")]
    assert [one for one in sentences if _OTHERS.search(one)] == []


def _all_of(team: Team, handle: Any) -> list[str]:
    record, progress = handle.run.record(), handle.progress
    notes = [f"{one.verb} {one.detail or ''}" for one in handle.run.activity()]
    return [record.reason or "", words.line(progress), words.ending(record, progress), *notes]


def test_of_a_failure_that_stops_it(team: Team, said: list[str]) -> None:
    team.broken.add(1)
    handle = group([team.add.s(1), team.add.s(2)], on_failure="stop").apply_async()
    team.settle(handle)
    assert (handle.run.record().reason or "").startswith("part 1 failed: ValueError: 1 is broken")
    said += _all_of(team, handle)


def test_of_failures_that_do_not(team: Team, said: list[str]) -> None:
    team.broken.add(1)
    handle = group([team.add.s(1), team.add.s(2), team.flaky.s(1, 1)]).apply_async()
    team.settle(handle)
    said += _all_of(team, handle)
    assert "ended partial: 2 parts, 1 part given up" in said[2]


def test_of_a_body_that_fails(team: Team, said: list[str]) -> None:
    team.broken.add("body")
    handle = chord([team.add.s(1)], team.tell.s()).apply_async()
    team.settle(handle)
    with pytest.raises(PartFailed, match="the body failed for good: KeyError") as caught:
        handle.get()
    with pytest.raises(StateError) as refused:
        handle.retry()
    said += [str(caught.value), str(refused.value), *_all_of(team, handle)]
    assert "No part of run" in str(refused.value)


def test_of_a_header_that_ends_early(team: Team, said: list[str]) -> None:
    def parts() -> Iterator[Any]:
        yield team.add.s(1)
        raise OSError("the power has failed")

    with pytest.raises(SourceError) as caught:
        group(parts()).apply_async(idempotency_key="tonight")
    run = team.yard.bulk.run(team.yard.bulk.runs()[0].id)
    team.yard.settle(run)
    assert (run.record().reason or "").startswith("header ended early at part 1: ")
    with pytest.raises(StateError) as refused:
        run.retry()
    said += [str(caught.value), str(refused.value), run.record().reason or ""]


def test_of_a_part_that_is_tried_again_and_again(team: Team, said: list[str]) -> None:
    @team.task(name="team.later", bind=True)
    def later(self: Any) -> None:
        raise self.retry(countdown=3_000)

    handle = group([later.s()]).apply_async()
    team.yard.crew().work_until(lambda: handle.progress.chunks_waiting)
    with pytest.raises(CeleryTimeout, match="the next try of a part is due in") as caught:
        handle.get(timeout=0.01)
    said += [str(caught.value), *_all_of(team, handle)]


def test_of_parts_whose_processes_die(team: Team, said: list[str]) -> None:
    handle = group(team.add.s(n) for n in range(6)).apply_async()
    yard, ledger = team.yard, team.yard.ledger
    for number in range(yard.runtime.settings.held_after_chunks):
        lane = yard.lane(handle.run)
        cut = Cut(Bounds((number,) if number else None, (number + 1,)), 1)
        with yard.transaction() as connection:
            ledger.claims.lock(connection, handle.run.id)
            frontier = ledger.claims.frontier(connection, handle.run.id, lane.token)
            ledger.claims.carve(
                connection, handle.run.id, frontier, [cut], lane=0, owner=uuid4(), exhausts=False
            )
        live_lanes.remove(lane.token)
        failure = Failure.of_death("process 7 died")
        with yard.runtime.database.connect() as connection:
            assert rescue(yard.runtime, connection, lane, why="process 7 died", failure=failure)
    record = handle.run.record()
    assert (record.status, "have the parts isolated" in (record.reason or "")) == ("held", True)
    said += _all_of(team, handle)
