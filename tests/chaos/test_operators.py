"""Operators who pause, resume and cancel under load, against each other and against the end."""

from __future__ import annotations

import random
import time
from collections import Counter
from contextlib import suppress
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select

from breakbulk import RunHandle, RunStatus
from breakbulk.domain.status import FINISHED, RUN_ARROWS
from breakbulk.errors import StateError
from tests.support.waiting import wait_for
from tests.support.warehouse import Product
from tests.support.yard import together

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from tests.support.arena import Arena
    from tests.support.arenas import Arenas

#: Of what a run's activity shows.
_ALL = 1000
_OPERATORS = 3
_ORDERS = 8
_RUNS = 12
#: Rows of a run that is about to end from the beginning.
_FEW = 30
#: What the workers' logs hold when chunks in hand are ended by force.
_FORCED = ("WorkerLostError", "Process 'ForkPoolWorker")


def _meddle(handle: RunHandle, dice: random.Random) -> None:
    """Pause and resume, whatever the others do."""
    for _ in range(_ORDERS):
        with suppress(StateError):
            dice.choice([handle.pause, handle.resume])()
        time.sleep(dice.uniform(0, 0.3))  # as people do


@pytest.mark.thorough
def test_pause_and_resume_raced(set_arena: Arenas) -> None:
    arena = set_arena()
    run = arena.submit()
    arena.until_share(run, 0.1)
    dices = [random.Random(arena.dice.random()) for _ in range(_OPERATORS)]
    raised = together(*(partial(_meddle, run, dice) for dice in dices))
    assert raised == [None] * _OPERATORS
    assert "pausing" in {one.verb for one in run.activity(_ALL)}
    with suppress(StateError):
        run.resume()
    arena.see_through(run)
    _assert_legal(run)
    for began, ended in _pauses(run):
        late = [one.number for one in arena.ended(run).values() if began < one.ended_at < ended]
        assert not late, f"chunks {late} were done while the run said that it was paused"


#: What brings a run into a status and is called by another name.
_MEANS = {"resumed": "running", "retried": "running"}


def _pauses(run: RunHandle) -> list[tuple[datetime, datetime]]:
    """From when to when the run was paused, as it said."""
    said = sorted(run.activity(_ALL), key=lambda one: one.at)
    return [(one.at, following.at) for one, following in pairwise(said) if one.verb == "paused"]


def _assert_legal(run: RunHandle) -> None:
    """Each status came after one from which an arrow leads to it."""
    said = [_MEANS.get(one.verb, one.verb) for one in run.activity(_ALL)]
    statuses = [verb for verb in said if verb in set(RunStatus)]
    for before, after in pairwise([RunStatus.RUNNING, *map(RunStatus, reversed(statuses))]):
        assert after in RUN_ARROWS[before], f"{before} -> {after} in {statuses}"


def _decide(handle: RunHandle, dice: random.Random) -> None:
    """Change one's mind a few times about a run that is about to end, then see it through."""
    orders: list[Callable[[], object]] = [handle.pause, handle.resume] * 3
    orders += [handle.cancel, partial(handle.cancel, force=True)]
    for _ in range(dice.randint(1, 3)):
        time.sleep(dice.uniform(0, 0.6))  # as people do
        with suppress(StateError):
            dice.choice(orders)()

    def ended() -> bool:
        if handle.status() is RunStatus.PAUSED:
            with suppress(StateError):
                handle.resume()
        return handle.status() in FINISHED

    wait_for(ended, timeout=120, message=f"run {handle.id} to end")


@pytest.mark.thorough
def test_everything_raced_against_the_end(set_arena: Arenas) -> None:
    """Runs of three chunks, each with an operator who cannot decide, and may use force."""
    arena = set_arena()
    ranges = [(3 * n * _FEW - 500, 3 * (n + 1) * _FEW - 501) for n in range(_RUNS)]
    runs = [arena.submit(first=first, last=last) for first, last in ranges]
    dices = [random.Random(arena.dice.random()) for _ in runs]
    raised = together(*(partial(_decide, *pair) for pair in zip(runs, dices, strict=True)))
    assert raised == [None] * _RUNS
    for run, (first, last) in zip(runs, ranges, strict=True):
        _assert_legal(run)
        record = run.record()
        assert record.status in {RunStatus.SUCCEEDED, RunStatus.CANCELLED}
        assert record.summary is not None
        versions = _versions(arena, first, last)
        assert set(versions) <= {0, 1}, versions
        assert versions[1] == record.summary.rows_done
        assert arena.stage.notices()[run.id] == (record.status is RunStatus.SUCCEEDED)
        assert run.audit().clean
    done = [run for run in runs if run.status() is RunStatus.SUCCEEDED]
    arena.say(f"raced against the end: {len(done)} of {_RUNS} runs succeeded, the rest cancelled")
    arena.stage.judge_ledger(*done, complaints=_FORCED)
    arena.sound = True


def _versions(arena: Arena, first: int, last: int) -> Counter[int]:
    query = select(Product.version).where(Product.id.between(first, last))
    with arena.stage.engine.connect() as connection:
        return Counter(connection.execute(query).scalars())
