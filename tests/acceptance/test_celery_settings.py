"""The team's own Celery settings: lanes live with whatever a team has chosen."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from redis import Redis
from sqlalchemy import select
from sqlalchemy.orm import Session

from breakbulk import RunStatus
from tests.support.waiting import SLACK, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from breakbulk import RunHandle
    from tests.support.stage import Stage
    from tests.support.stages import Stages
    from tests.support.workers import Worker

_ROWS = 1000
_JOB = {"chunk_size": 25, "retry_delay": 0}
_SLICE = 1.0
#: So many seconds longer than a slice and a chunk a lane may stay on a busy machine.
_BUSY = 3.0


@pytest.fixture
def shop(postgres_url: str, valkey_url: str, set_stage: Stages) -> Stage:
    """A warehouse whose run of 40 chunks takes two slices of two lanes, or more."""
    stage = set_stage(postgres_url, valkey_url, job=_JOB, knobs={"slice_seconds": _SLICE})
    stage.fill(_ROWS)
    return stage


def _run_slowly(shop: Stage, *, seconds: float, **options: Any) -> Worker:
    worker = shop.worker(**options)
    run = shop.submit(seconds=seconds)
    shop.until_succeeded(run)
    shop.judge(run, rows=_ROWS)
    assert not shop.attempts(run), "no lane was killed at work"
    assert not shop.losses(run)
    return worker


@pytest.mark.parametrize(
    ("celery", "arguments"),
    [
        ({"task_time_limit": 8, "task_soft_time_limit": 4}, []),
        pytest.param(
            {"task_annotations": {"breakbulk.lane": {"time_limit": 4}}},
            [],
            marks=pytest.mark.thorough,
        ),
        pytest.param(
            {}, ["--time-limit", "8", "--soft-time-limit", "4"], marks=pytest.mark.thorough
        ),
    ],
    ids=["settings", "annotations", "command line"],
)
def test_time_limits_shorter_than_a_slice(
    postgres_url: str,
    valkey_url: str,
    set_stage: Stages,
    celery: dict[str, Any],
    arguments: list[str],
) -> None:
    stage = set_stage(postgres_url, valkey_url, celery=celery, job=_JOB)
    stage.fill(_ROWS)
    # Longer than the limits, shorter than a slice of the default length.
    worker = _run_slowly(stage, seconds=0.24, extra_args=arguments)
    assert "time limit" not in worker.log()


def test_children_that_are_replaced_after_ten_tasks(shop: Stage) -> None:
    worker = shop.worker(celery={"worker_max_tasks_per_child": 10})
    before = {child.pid for child in worker.children()}
    run = shop.submit(seconds=0.1)
    shop.until_done(run, 1)
    # Whatever lanes are asked for in vain count among a child's ten tasks.
    broker = shop.bulk.broker
    assert broker is not None
    assert broker.send_lanes(shop.config.queue, 40)
    shop.until_succeeded(run)
    shop.judge(run, rows=_ROWS)
    assert not shop.attempts(run)
    assert not shop.losses(run)
    # A child that has had its ten tasks ends a moment later.
    wait_for(
        lambda: before - {child.pid for child in worker.children()},
        message="somebody to be replaced",
    )


@pytest.mark.thorough
def test_children_that_are_replaced_for_their_memory(shop: Stage) -> None:
    # A kilobyte, so a child has outgrown it at the end of each slice.
    worker = shop.worker(celery={"worker_max_memory_per_child": 1})
    before = {child.pid for child in worker.children()}
    run = shop.submit(seconds=0.06)
    shop.until_done(run, 1)
    assert before & {child.pid for child in worker.children()}
    shop.until_succeeded(run)
    shop.judge(run, rows=_ROWS)
    assert not shop.attempts(run)
    assert not shop.losses(run)
    wait_for(
        lambda: not before & {child.pid for child in worker.children()},
        message="everybody to be replaced",
    )


@pytest.mark.parametrize("database", ["postgres", "sqlite"])
@pytest.mark.parametrize("within", [False, True], ids=["alone", "in a transaction"])
def test_eager_mode_runs_where_it_is_submitted(
    request: pytest.FixtureRequest,
    valkey_url: str,
    set_stage: Stages,
    database: str,
    *,
    within: bool,
) -> None:
    url = request.getfixturevalue(f"{database}_url")
    stage = set_stage(url, valkey_url, celery={"task_always_eager": True}, job=_JOB)
    stage.fill(_ROWS)
    if within:
        with Session(stage.engine) as session:
            run = stage.bulk.submit(stage.count(), session=session)
            assert set(stage.versions()) == {0}, "not before the commit"
            session.commit()
    else:
        run = stage.submit()
    run.raise_for_status()
    stage.judge(run, rows=_ROWS)
    assert not stage.bulk.workers()
    with Redis.from_url(valkey_url) as client:
        assert not client.keys(), "nothing was sent"


def test_lanes_go_where_they_are_sent(
    postgres_url: str, valkey_url: str, queue_name: str, set_stage: Stages
) -> None:
    routed, jobs, ad_hoc = (f"{queue_name}-{name}" for name in ("routed", "job", "submit"))
    stage = set_stage(
        postgres_url,
        valkey_url,
        celery={"task_routes": {"breakbulk.*": {"queue": routed}}},
        job=_JOB,
    )
    own = set_stage(postgres_url, valkey_url, job={**_JOB, "queue": jobs})
    stage.fill(_ROWS)
    runs = {
        routed: stage.submit(label="routed"),
        jobs: own.submit(label="job"),
        ad_hoc: own.bulk.submit(own.count(label="submit"), queue=ad_hoc),
    }
    with Redis.from_url(valkey_url) as client:
        for queue, run in runs.items():
            assert run.record().queue == queue
            assert client.llen(queue) > 0
        assert not client.llen(queue_name)
    stage.worker(queues=list(runs))
    stage.until_succeeded(*runs.values())
    stage.judge(*runs.values(), rows=_ROWS)


@pytest.mark.parametrize(
    ("settings", "backend", "arguments"),
    [
        (
            {
                "task_acks_late": True,
                "task_reject_on_worker_lost": True,
                "task_track_started": True,
                "accept_content": ["json"],
                "worker_prefetch_multiplier": 1,
            },
            True,
            [],
        ),
        (
            {
                "task_acks_late": False,
                "task_ignore_result": True,
                "accept_content": ["json"],
                "worker_prefetch_multiplier": 4,
            },
            False,
            [],
        ),
        ({"worker_send_task_events": True}, True, ["--autoscale", "4,1"]),
    ],
    ids=["late acks, results, prefetch 1", "early acks, no results, prefetch 4", "autoscale"],
)
def test_acknowledgements_results_and_prefetching(
    postgres_url: str,
    valkey_url: str,
    set_stage: Stages,
    settings: dict[str, Any],
    arguments: list[str],
    *,
    backend: bool,
) -> None:
    celery = {**settings, "result_backend": valkey_url} if backend else settings
    stage = set_stage(postgres_url, valkey_url, celery=celery, job=_JOB)
    stage.fill(_ROWS)
    stage.worker(extra_args=arguments)
    run = stage.submit(seconds=0.02)
    stage.until_succeeded(run)
    stage.judge(run, rows=_ROWS)
    assert not stage.attempts(run)
    with Redis.from_url(valkey_url) as client:
        assert not client.keys("celery-task-meta-*"), "a lane has no result"


def _stays(stage: Stage, run: RunHandle) -> list[float]:
    """For how many seconds each lane has stayed that came and went."""
    stays = stage.bulk.runtime.database.schema.stays
    query = select(stays.c.started_at, stays.c.ended_at).where(stays.c.run_id == run.id)
    with stage.engine.connect() as connection:
        rows = connection.execute(query).all()
    return [(row.ended_at - row.started_at).total_seconds() for row in rows]


def _wait_for_length(found: Callable[[], list[float]], length: int) -> None:
    wait_for(lambda: len(found()) == length, message="the team's task")


@pytest.mark.parametrize("prefetch", [pytest.param(1, marks=pytest.mark.thorough), 4])
def test_a_task_of_the_team_waits_for_a_slice_at_most(
    postgres_url: str,
    valkey_url: str,
    set_stage: Stages,
    tmp_path: Path,
    prefetch: int,
) -> None:
    longest, seconds = 2.0, 0.3
    shop = set_stage(postgres_url, valkey_url, job=_JOB, knobs={"slice_seconds": longest})
    # So much that the run goes on for long after the team's tasks, which are what this is about.
    shop.fill(40 * _ROWS)
    shop.worker(celery={"worker_prefetch_multiplier": prefetch})
    run = shop.submit(seconds=seconds)
    shop.until_done(run, 2)
    notes = tmp_path / "notes"
    note = shop.application.app.tasks["team.note"]

    def waits() -> list[float]:
        return [float(line) for line in notes.read_text().splitlines()] if notes.exists() else []

    for number in range(2):
        note.apply_async((str(notes), time.time()))
        _wait_for_length(waits, number + 1)
    assert run.record().finished_at is None, "all slots were busy"
    # The broker and this machine have their part in the wait; when lanes hand on is ours alone. Of
    # those that did the shortest stay counts, for a busy machine may stop anybody.
    stays = _stays(shop, run)
    assert min(stays) <= longest + seconds + _BUSY, f"stayed {stays} s"
    run.cancel()
    shop.until(run, RunStatus.CANCELLED)
    assert run.audit().clean
    assert max(waits()) <= longest + SLACK, f"waited {waits()} s"
