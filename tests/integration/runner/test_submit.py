"""A run is written down in the caller's own transaction, once, and beside no other of its kind."""

from __future__ import annotations

import threading
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import create_engine, select, text, update
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from breakbulk import RunStatus
from breakbulk.errors import (
    ConfigurationError,
    IdempotencyConflict,
    OverlapError,
    SchemaError,
    SecondDatabase,
    SourceError,
    StateError,
)
from breakbulk.runner import submit as submitting
from tests.support.waiting import wait_for
from tests.support.yard import Base, Goods, Notice, Yard, statements, together

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from breakbulk import RunHandle


@pytest.fixture
def sent(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """The lanes that were asked for."""
    asked: list[tuple[str, int]] = []
    broker = yard.bulk.broker
    assert broker is not None

    def send(queue: str, count: int, _good_until: datetime) -> bool:
        asked.append((queue, count))
        return True

    monkeypatch.setattr(broker, "send_lanes", send)
    return asked


# In the caller's transaction


def nudged(yard: Yard) -> None:
    wait_for(lambda: yard.bulk.nudges.idle, message="the nudges to be over")


def test_a_commit_submits_and_asks_for_a_lane_once(yard: Yard, sent: list[Any]) -> None:
    with Session(yard.engine) as session:
        session.add(Notice(run=0, words="with it"))
        handle = yard.submit(yard.job(), session=session)
        assert sent == []
        session.commit()
        nudged(yard)
        assert sent == [("celery", 1)]
        session.add(Notice(run=0, words="later"))
        session.commit()
    nudged(yard)
    assert sent == [("celery", 1)]
    yard.settle(handle)
    assert handle.status() is RunStatus.SUCCEEDED
    assert set(yard.versions().values()) == {1}


def test_a_rollback_submits_nothing(yard: Yard, sent: list[Any]) -> None:
    with Session(yard.engine) as session:
        yard.submit(yard.job(), session=session)
        session.rollback()
        session.add(Notice(run=0, words="another transaction"))
        session.commit()
    assert yard.count("runs") == yard.count("carves") == yard.count("activity") == 0
    assert sent == []


def test_a_session_that_is_closed_submits_nothing(yard: Yard, sent: list[Any]) -> None:
    with Session(yard.engine) as session:
        yard.submit(yard.job(), session=session)
    assert yard.count("runs") == 0
    assert sent == []


def test_a_savepoint_that_is_rolled_back_submits_nothing(
    yard: Yard, sent: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    job = yard.job()
    with Session(yard.engine) as session:
        session.execute(select(Notice))
        with session.begin_nested():
            inner = session.begin_nested()
            yard.submit(job, session=session)
            inner.rollback()
        outer = session.begin_nested()
        with session.begin_nested():
            yard.submit(job, session=session)
        outer.rollback()
        session.commit()
    assert yard.count("runs") == 0
    assert sent == []
    assert caplog.records == []


def test_a_savepoint_that_is_kept_submits(yard: Yard, sent: list[Any]) -> None:
    with Session(yard.engine) as session:
        session.execute(select(Notice))
        with session.begin_nested():
            yard.submit(yard.job(), session=session)
            assert sent == []
        sibling = session.begin_nested()
        sibling.rollback()
        session.commit()
    nudged(yard)
    assert yard.count("runs") == 1
    assert sent == [("celery", 1)]


def test_several_runs_in_one_transaction(yard: Yard, sent: list[Any]) -> None:
    """A hook that removed itself would break the commit it is called by."""
    jobs = [yard.job() for _ in range(3)]
    with Session(yard.engine) as session:
        handles = [yard.submit(job, session=session) for job in jobs]
        session.commit()
        nudged(yard)
        assert len(sent) == 3
        session.execute(select(Notice))
        session.commit()
        again = yard.submit(yard.job(), session=session)
        session.commit()
    nudged(yard)
    assert len(sent) == 4
    yard.settle(*handles, again)
    assert set(yard.versions().values()) == {4}


def test_a_nudge_that_fails_does_not_reach_the_caller(
    yard: Yard, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    where: list[str] = []

    def broken(*_: object) -> bool:
        where.append(threading.current_thread().name)
        raise RuntimeError("no broker class of that name")

    monkeypatch.setattr(yard.bulk.broker, "send_lanes", broken)
    with Session(yard.engine) as session:
        handle = yard.submit(yard.job(), session=session)
        session.commit()
    nudged(yard)
    assert where == ["breakbulk-nudges"], "behind the back of whoever has committed"
    assert "is submitted, but no lane was asked for" in caplog.text
    assert handle.status() is RunStatus.RUNNING


def test_a_scoped_session_is_the_one_of_this_thread(yard: Yard, sent: list[Any]) -> None:
    """Listeners on the registry itself would be called by everybody's commits."""
    sessions = scoped_session(sessionmaker(yard.engine))
    handle = yard.submit(yard.job(), session=sessions)
    if yard.engine.dialect.name == "postgresql":

        def elsewhere() -> None:
            with sessions() as session:
                session.execute(select(Notice))
                session.commit()
            sessions.remove()

        assert together(elsewhere) == [None]
        assert sent == []
    sessions.commit()
    sessions.remove()
    nudged(yard)
    assert sent == [("celery", 1)]
    assert handle.status() is RunStatus.RUNNING


def test_a_session_in_autocommit_is_refused(yard: Yard) -> None:
    engine = yard.engine.execution_options(isolation_level="AUTOCOMMIT")
    with Session(engine) as session, pytest.raises(ConfigurationError, match="AUTOCOMMIT"):
        yard.submit(yard.job(), session=session)
    assert yard.count("runs") == 0


def test_a_session_of_another_database_is_refused(yard: Yard, tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'elsewhere.sqlite'}")
    with Session(engine) as session, pytest.raises(SecondDatabase, match="leave session= out"):
        yard.submit(yard.job(), session=session)
    engine.dispose()
    assert yard.count("runs") == 0


@pytest.mark.parametrize("wrong", ["newer", "missing"])
def test_a_ledger_that_does_not_fit_leaves_the_callers_transaction_alone(
    yard: Yard, wrong: str
) -> None:
    """Also on PostgreSQL, where any error of a statement would end it."""
    job = yard.job()
    schema = yard.ledger.database.schema
    table = schema.table_name("schema_version")
    place = table if schema.flat else f"breakbulk.{table}"
    spoil, mend = {
        "newer": (
            f"UPDATE {place} SET version_num = '9' || version_num",
            f"UPDATE {place} SET version_num = substr(version_num, 2)",
        ),
        "missing": (
            f"ALTER TABLE {place} RENAME TO {table}_aside",
            f"ALTER TABLE {place}_aside RENAME TO {table}",
        ),
    }[wrong]
    with Session(yard.engine) as session:
        session.execute(text(spoil))
        session.add(Notice(run=0, words="the caller's own"))
        with pytest.raises(SchemaError, match=wrong):
            yard.submit(job, session=session)
        session.execute(text(mend))
        session.commit()
    assert yard.notices() == ["the caller's own"]
    assert yard.count("runs") == 0
    yard.settle(yard.submit(job))


def test_what_cannot_be_walked_leaves_nothing_half_made(yard: Yard) -> None:
    job = yard.job(source=lambda: select(Goods).limit(3))
    with pytest.raises(SourceError):
        yard.submit(job)
    with Session(yard.engine) as session:
        session.add(Notice(run=0, words="the caller's own"))
        with pytest.raises(SourceError):
            yard.submit(job, session=session)
        session.commit()
    assert yard.count("runs") == yard.count("carves") == 0
    assert yard.notices() == ["the caller's own"]


def test_a_submit_costs_a_fixed_number_of_statements(yard: Yard) -> None:
    job, counts = yard.job(), []
    for more in (0, 1000, 3000):
        yard.add_goods(range(more + 100, more + 100 + more))
        with statements(yard.engine) as seen:
            yard.submit(job, overlap="allow")
        counts.append(len(seen))
    assert counts[1] == counts[2]
    assert counts[1] < 30


# Idempotency


def test_the_same_key_gives_the_first_run_also_when_it_has_ended(yard: Yard) -> None:
    job = yard.job()
    first = yard.submit(job, idempotency_key="night")
    assert first.created
    for _ in range(2):
        second = yard.submit(job, idempotency_key="night")
        assert (second.id, second.created) == (first.id, False)
        yard.settle(first)
    assert yard.count("runs") == 1
    yard.assert_proper(first)


def test_the_same_key_with_other_parameters_is_a_conflict(yard: Yard) -> None:
    job = yard.job()
    first = yard.bulk.submit(job(tag="a"), idempotency_key="night")
    with pytest.raises(IdempotencyConflict, match="'night' belongs to run") as caught:
        yard.bulk.submit(job(tag="b"), idempotency_key="night")
    assert caught.value.run_id == first.id
    other = yard.job()
    assert yard.bulk.submit(other(), idempotency_key="night").created, "keys are each job's own"


@pytest.mark.parametrize("overlap", ["refuse", "allow", "wait"])
def test_of_several_at_once_with_one_key_one_is_created(yard: Yard, overlap: str) -> None:
    job = yard.job()

    def submit() -> RunHandle:
        return yard.submit(job, idempotency_key="night", overlap=overlap)

    results = together(*[submit] * 4)
    assert not [one for one in results if isinstance(one, Exception)], results
    assert len({one.id for one in results}) == 1
    assert [one.created for one in results].count(True) == 1
    assert yard.count("runs") == yard.count("carves") == 1


def test_the_run_of_our_own_key_is_found_when_it_comes_between_two_questions(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was not there when its key was asked for, and is when runs in the way are."""
    job = yard.job()
    first = yard.submit(job, idempotency_key="night")
    ask = submitting._earlier
    answers: list[None] = [None]
    monkeypatch.setattr(
        submitting, "_earlier", lambda *given: answers.pop() if answers else ask(*given)
    )
    second = yard.submit(job, idempotency_key="night")
    assert answers == []
    assert (second.id, second.created) == (first.id, False)


def test_a_key_whose_submit_was_rolled_back_is_free(yard: Yard) -> None:
    job = yard.job()
    with Session(yard.engine) as session:
        yard.submit(job, session=session, idempotency_key="night")
        session.rollback()
    assert yard.submit(job, idempotency_key="night").created


def test_postgres_a_key_in_another_open_transaction_is_waited_for(postgres_yard: Yard) -> None:
    yard = postgres_yard
    job = yard.job()
    found: list[RunHandle] = []
    with Session(yard.engine) as session:
        first = yard.submit(job, session=session, idempotency_key="night")
        waiting = threading.Thread(
            target=lambda: found.append(yard.submit(job, idempotency_key="night"))
        )
        waiting.start()
        wait_for(lambda: _blocked(yard), message="the second submit to wait")
        session.commit()
    waiting.join(timeout=60)
    assert [one.id for one in found] == [first.id]


def _blocked(yard: Yard) -> bool:
    with yard.engine.connect() as connection:
        query = text(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND wait_event_type = 'Lock'"
        )
        return bool(connection.execute(query).scalar_one())


# Overlap


def test_a_run_that_goes_on_refuses_the_next(yard: Yard) -> None:
    job = yard.job()
    first = yard.submit(job)
    with pytest.raises(OverlapError, match=f"Run {first.id} of Job0 .* is still running") as caught:
        yard.submit(job)
    assert caught.value.run_id == first.id
    assert yard.bulk.submit(job(tag="other parameters")).created
    first.pause()
    with pytest.raises(OverlapError, match="still paus"):
        yard.submit(job)
    first.cancel()
    assert yard.submit(job).created


def test_of_several_at_once_one_runs(yard: Yard) -> None:
    job = yard.job()
    results = together(*[lambda: yard.submit(job)] * 4)
    assert sorted(type(one).__name__ for one in results) == ["OverlapError"] * 3 + ["RunHandle"]
    assert yard.count("runs") == 1


def test_two_schedulers_at_once_submit_once(yard: Yard) -> None:
    """What Celery's beat does when somebody has started two."""
    job = yard.job()
    task = yard.celery.tasks["breakbulk.submit"]
    spec = yard.bulk.jobs.of(job)
    results = together(*[lambda: task(spec.name, {"tag": ""}, {})] * 3)
    assert sorted(results, key=str) == [1, None, None]
    assert yard.bulk.run(1).record().submitted_by == "celery"


def test_several_at_once_that_wait_run_one_after_the_other(yard: Yard) -> None:
    running: list[int] = []
    worst: list[int] = []

    def process(chunk: Any) -> None:
        running.append(chunk.run.id)
        worst.append(len(set(running)))
        for row in chunk:
            row.version += 1
        running.remove(chunk.run.id)

    job = yard.job(process)
    results = together(*[lambda: yard.submit(job, overlap="wait")] * 3)
    assert not [one for one in results if isinstance(one, Exception)], results
    by_status = sorted(str(one.status()) for one in results)
    assert by_status == ["held", "held", "running"]
    held = [one for one in results if one.status() is RunStatus.HELD]
    assert all("waits for run" in str(one.record().reason) for one in held)
    crew = yard.first_crew

    def ended() -> bool:
        crew.work()
        crew.tick()
        return all(one.status() is RunStatus.SUCCEEDED for one in results)

    wait_for(ended, message="all three to end")
    assert set(yard.versions().values()) == {3}
    assert max(worst) == 1
    order = [one.record() for one in sorted(results, key=lambda one: one.id)]
    for earlier, later in pairwise(order):
        assert earlier.finished_at is not None
        assert later.started_at is not None
        assert earlier.finished_at <= later.started_at


def test_a_run_that_waits_cannot_be_hurried_but_cancelled(yard: Yard) -> None:
    job = yard.job()
    first, second = yard.submit(job), yard.submit(job, overlap="wait")
    third = yard.submit(job, overlap="wait")
    assert second.record().waits_for == first.id
    assert third.record().waits_for == second.id
    with pytest.raises(StateError, match=f"waits for run {first.id}"):
        second.resume()
    assert second.cancel() is RunStatus.CANCELLED
    crew = yard.first_crew

    def ended() -> bool:
        crew.work()
        crew.tick()
        return third.status() is RunStatus.SUCCEEDED

    wait_for(ended, message="the third run to end")
    assert set(yard.versions().values()) == {2}


def test_a_run_waits_for_one_that_occupies_no_place_as_well(yard: Yard) -> None:
    job = yard.job()
    first = yard.submit(job, overlap="allow")
    second = yard.submit(job, overlap="wait")
    yard.first_crew.tick()
    assert second.status() is RunStatus.HELD
    yard.settle(first)
    yard.first_crew.tick()
    assert second.status() is RunStatus.RUNNING


def test_two_that_are_allowed_run_side_by_side(yard: Yard) -> None:
    job = yard.job()
    first, second = yard.submit(job), yard.submit(job, overlap="allow")
    yard.settle(first, second)
    assert set(yard.versions().values()) == {2}
    with pytest.raises(ConfigurationError, match="overlap='both' must be one of 'refuse'"):
        yard.submit(job, overlap="both")


def test_a_place_is_free_when_a_run_has_failed(yard: Yard) -> None:
    def finished(run: Any) -> None:
        raise ValueError

    job = yard.job(finished=finished, max_retries=0)
    first = yard.submit(job)
    yard.settle(first)
    assert first.status() is RunStatus.FAILED
    assert yard.submit(job).created


# Planning


def test_a_plan_writes_nothing_and_says_what_would_be(yard: Yard) -> None:
    job = yard.job()
    with statements(yard.engine) as seen:
        plan = yard.bulk.plan(job())
    assert not [one for one in seen if one.split()[0] in {"INSERT", "UPDATE", "DELETE"}]
    assert (plan.rows_estimate, plan.chunks_estimate) in {(25, 3), (None, None)} or (
        yard.engine.dialect.name == "postgresql"
    )
    assert (plan.first, plan.last_key) == ((None, "[10]"), "[25]")
    assert plan.sample == ("[1]", "[2]", "[3]", "[4]", "[5]")
    assert yard.count("runs") == 0
    handle = yard.submit(job)
    assert handle.record().fingerprint == plan.fingerprint


def test_a_plan_of_nothing(yard: Yard) -> None:
    with yard.engine.begin() as connection:
        connection.execute(Base.metadata.tables["goods"].delete())
    plan = yard.bulk.plan(yard.job()())
    assert (plan.rows_estimate, plan.chunks_estimate, plan.first, plan.sample) == (0, 0, None, ())


# Rows that come and go after the submit


def test_rows_beyond_the_last_key_belong_to_the_next_run(yard: Yard) -> None:
    handle = yard.submit(yard.job())
    yard.add_goods(range(26, 40))
    with yard.engine.begin() as connection:
        connection.execute(update(Goods).where(Goods.id == 3).values(version=0))
    yard.settle(handle)
    audit = handle.audit()
    assert audit.clean
    assert {n for n, version in yard.versions().items() if version} == set(range(1, 26))
