"""Canvases that begin later: at a time with a zone, without one, or in the past."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from celery.worker.request import Request

from breakbulk.canvas import chain, chord, group

if TYPE_CHECKING:
    from tests.integration.canvas.conftest import Team

_EAST = timezone(timedelta(hours=1))
_AT = datetime(2126, 1, 31, 22, tzinfo=UTC)


def eta_in_a_worker(team: Team, eta: datetime) -> Any:
    """What a worker of Celery's makes of a time that one task alone is given."""
    amqp: Any = team.app.amqp
    sent = amqp.as_task_v2("an id", team.add.name, eta=eta)
    message: Any = SimpleNamespace(headers=sent.headers, delivery_info={}, properties={})
    came: Any = Request(message, app=team.app, task=team.add, decoded=True, body=sent.body)
    return came.eta


def look_around(team: Team) -> None:
    """Let a steward and a lane do whatever there is to do now."""
    crew = team.yard.first_crew
    crew.tick()
    crew.work()


def test_no_part_runs_before_a_time_in_another_zone(team: Team) -> None:
    eta = datetime(2126, 1, 31, 23, tzinfo=_EAST)
    handle = chord([team.add.s(1), team.add.s(2)], team.tell.s()).apply_async(eta=eta)
    assert handle.run.record().not_before == _AT
    look_around(team)
    assert (team.told, handle.state) == ([], "PENDING")
    team.yard.due()
    team.settle(handle)
    assert handle.get() == [1, 2]


@pytest.mark.parametrize("zone", [None, "Asia/Kolkata"])
def test_a_time_without_a_zone_is_utc_whatever_celery_s_own_zone_is(
    team: Team, zone: str | None
) -> None:
    """As Celery's workers take it."""
    team.app.conf.update(timezone=zone)
    naive = _AT.replace(tzinfo=None)
    assert group(team.add.s(1)).apply_async(eta=naive).run.record().not_before == _AT
    assert eta_in_a_worker(team, naive) == _AT


def test_a_time_that_has_gone_by_means_now(team: Team) -> None:
    handle = group(team.add.s(1)).apply_async(eta=datetime(2020, 1, 1, tzinfo=UTC))
    assert handle.run.record().not_before is None
    team.settle(handle)
    assert handle.get() == [1]


def test_a_task_in_front_waits_for_the_time_and_the_group_for_the_task(team: Team) -> None:
    canvas = chain(team.add.s(1, 1), group(team.add.s(10), team.add.s(20)), team.tell.s())
    handle = canvas.apply_async(eta=_AT)
    assert handle.leading is not None
    assert handle.leading.record().not_before == _AT
    assert handle.run.record().not_before is None, "nobody has to wait for it twice"
    look_around(team)
    assert team.told == []
    team.yard.due()
    team.yard.settle(handle.leading)
    team.send()
    team.settle(handle)
    assert handle.get() == [12, 22]


def test_what_apply_async_is_given_counts_and_not_what_was_set_before(team: Team) -> None:
    canvas = group([team.add.s(1)]).set(eta=_AT)
    first, second = canvas.apply_async(), canvas.apply_async(eta=_AT + timedelta(hours=1))
    assert first.run.record().not_before == _AT
    assert second.run.record().not_before == _AT + timedelta(hours=1)
