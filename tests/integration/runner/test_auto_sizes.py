"""Chunks that size themselves, on the real ledger; what a row costs is counted, not waited for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from breakbulk import Items, RunStatus
from breakbulk.domain.failure import Failure
from breakbulk.domain.sizing import Cause, Size
from breakbulk.errors import ParameterError
from breakbulk.runner import attempt, sizing
from breakbulk.runner.rescue import rescue
from tests.support.yard import Goods, Yard, statements, touch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Engine

    from breakbulk import Chunk, RunHandle

_TARGET = 0.5


@dataclass
class Watch:
    """A clock that goes on only while rows are worked on."""

    now: float = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    made = Watch()
    monkeypatch.setattr(attempt, "time", made)
    monkeypatch.setattr(sizing, "shortage", lambda: None)
    return made


@pytest.fixture
def field(clean_engine: Engine) -> Iterator[Yard]:
    yard = Yard(clean_engine, rows=3_000, shared=True, max_chunk_rows=500, carve_seconds=0.0)
    yield yard
    yard.close()


def costing(watch: Watch, cost: Callable[[int], float]) -> Callable[[Chunk[Goods]], None]:
    """A process whose rows take their time."""

    def process(chunk: Chunk[Goods]) -> None:
        for row in chunk:
            row.version += 1
            watch.now += cost(row.id)

    return process


def auto(yard: Yard, process: Callable[[Any], object] = touch, **options: Any) -> RunHandle:
    options = {"chunk_size": "auto", "chunk_seconds": _TARGET, **options}
    return yard.submit(yard.job(process, **options))


def carved(handle: RunHandle) -> list[int]:
    return [chunk.rows for chunk in handle.chunks(limit=10_000)]


@pytest.mark.thorough
def test_the_size_follows_a_cost_that_drifts_a_hundredfold(field: Yard, watch: Watch) -> None:
    """0.2 ms a row at one end and 20 ms at the other, counted and not waited for."""
    cost = costing(watch, lambda key: 0.0002 * 100 ** (key / 3_000))
    handle = auto(field, cost, chunk_seconds=0.1)
    field.settle(handle)
    field.assert_proper(handle)
    took = [chunk.seconds or 0 for chunk in handle.chunks(limit=10_000)]
    assert all(seconds <= 0.2 for seconds in took), took
    # The first six are the way up from ten rows, and the last one has what is left.
    assert all(seconds >= 0.05 for seconds in took[6:-1]), took
    assert max(carved(handle)) > 20 * min(carved(handle))


def test_it_begins_small_and_grows_by_steps(field: Yard, watch: Watch) -> None:
    handle = auto(field, costing(watch, lambda _: 0.001))
    field.settle(handle)
    sizes = carved(handle)
    assert sizes[:7] == [10, 20, 40, 80, 160, 320, 500]
    assert set(sizes[7:-1]) == {500}


def test_no_chunk_has_more_rows_than_the_setting_says(field: Yard, watch: Watch) -> None:
    handle = auto(field, costing(watch, lambda _: 1e-6))
    field.settle(handle)
    assert max(carved(handle)) == 500


def test_all_lanes_agree_because_they_read_the_same(field: Yard, watch: Watch) -> None:
    handle = auto(field, costing(watch, lambda _: 0.004))
    field.settle(handle)
    rows = field.rows_of("sizes", f"run_id = {handle.id}")
    numbers = [row["number"] for row in rows]
    assert numbers == sorted(set(numbers)), "no size is decided twice for one frontier"
    assert rows[-1]["rows"] in range(110, 130)


def test_the_reasons_are_on_record_and_the_activity_is_short(field: Yard, watch: Watch) -> None:
    handle = auto(field, costing(watch, lambda key: 0.001 if key < 2_000 else 0.02))
    field.settle(handle)
    notes = [one for one in handle.activity() if one.verb == "resized"]
    changes = field.rows_of("sizes", f"run_id = {handle.id}")
    assert len(changes) > 8
    assert len(notes) <= 4, "the way up is not told step by step"
    assert all("rows/s" in (one.detail or "") for one in notes)
    assert all(one.actor.startswith("lane ") for one in notes)


def test_a_fixed_size_stays_fixed_and_costs_nothing_more(field: Yard) -> None:
    with statements(field.engine) as seen:
        handle = field.run(chunk_size=500)
    assert set(carved(handle)) == {500}
    assert not field.rows_of("sizes")
    assert not [one for one in seen if "_sizes" in one or ".sizes" in one]


def test_items_size_themselves_too(field: Yard, watch: Watch) -> None:
    def process(chunk: Chunk[int]) -> None:
        watch.now += 0.01 * len(list(chunk))

    handle = auto(field, process, source=lambda: Items(range(400)), finished=None)
    field.settle(handle)
    assert handle.status() is RunStatus.SUCCEEDED
    assert carved(handle)[:4] == [10, 20, 40, 50]


def test_a_filtered_table_sizes_itself_too(field: Yard, watch: Watch) -> None:
    handle = auto(
        field,
        costing(watch, lambda _: 0.01),
        source=lambda: select(Goods).where(Goods.id % 7 == 0),
        finished=None,
    )
    field.settle(handle)
    assert handle.status() is RunStatus.SUCCEEDED
    assert handle.audit().clean
    assert carved(handle)[:4] == [10, 20, 40, 50]


class _LockNotAvailable(Exception):
    sqlstate = "55P03"


def _locked() -> OperationalError:
    return OperationalError("SELECT 1", {}, _LockNotAvailable("canceling: lock timeout"))


def test_a_lock_timeout_halves_the_size_at_once(field: Yard, watch: Watch) -> None:
    pay = costing(watch, lambda _: 0.001)
    met: list[int] = []

    def process(chunk: Chunk[Goods]) -> None:
        if chunk.number == 8 and not met:
            met.append(chunk.number)
            raise _locked()
        pay(chunk)

    handle = auto(field, process)
    field.settle(handle)
    field.assert_proper(handle)
    sizes = carved(handle)
    assert sizes[7] == 500
    assert sizes[8] == 250
    braked = [row for row in field.rows_of("sizes") if row["cause"] == "lock"]
    assert [(row["rows"], row["ceiling"]) for row in braked] == [(250, 250)]
    (note,) = (one for one in handle.activity() if "lock timeout" in (one.detail or ""))
    assert note.verb == "resized"
    assert "chunk 8" in (note.detail or "")


def test_memory_that_runs_short_shrinks_chunks(
    field: Yard, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    pay = costing(watch, lambda _: 0.001)

    def process(chunk: Chunk[Goods]) -> None:
        pay(chunk)
        if chunk.number == 8:
            monkeypatch.setattr(sizing, "shortage", lambda: "3% of the machine's memory is left")

    handle = auto(field, process)
    field.settle(handle)
    field.assert_proper(handle)
    sizes = carved(handle)
    assert sizes[6:9] == [500, 500, 250]
    assert max(sizes[8:]) == 250
    assert any(row["detail"].startswith("3%") for row in field.rows_of("sizes"))


@pytest.mark.parametrize(
    ("failure", "cause"),
    [(Failure.of_death("process 7 died"), "death"), (Failure.of_timeout(60), "timeout")],
)
def test_a_chunk_that_was_killed_or_hung_shrinks_those_behind_it(
    field: Yard, watch: Watch, failure: Failure, cause: str
) -> None:
    handle = auto(field, costing(watch, lambda _: 0.001))
    lane = field.lane(handle)
    schema = field.ledger.database.schema
    with field.transaction() as connection:
        known = Size(200, told=200)
        field.ledger.sizes.record(connection, handle.id, known, detail="a test", actor="a test")
        connection.execute(
            schema.chunks.insert().values(
                run_id=handle.id,
                number=1,
                path="",
                status="carved",
                owner=lane.token,
                lane=0,
                after=None,
                upto="[200]",
                rows=200,
                rows_upto=200,
                attempt=1,
            )
        )
    with field.runtime.database.connect() as connection:
        assert rescue(field.runtime, connection, lane, why="a test", failure=failure)
    row = field.rows_of("sizes")[-1]
    assert (row["rows"], row["cause"], row["number"]) == (100, cause, 1)


def test_whoever_submits_may_say_it(field: Yard, watch: Watch) -> None:
    job = field.job(costing(watch, lambda _: 0.01))
    handle = field.submit(job, chunk_size="auto", chunk_seconds=0.3)
    record = handle.record()
    assert (record.chunk_size, record.chunk_seconds) == (10, 0.3)
    field.settle(handle)
    assert carved(handle)[:3] == [10, 20, 30]
    plan = field.bulk.plan(job(), chunk_size="auto")
    assert (plan.chunk_size, plan.chunk_seconds, plan.chunks_estimate) == (10, 0.5, None)
    assert field.bulk.plan(job()).chunk_seconds is None
    with pytest.raises(ParameterError, match="chunk_seconds=1 without chunk_size='auto'"):
        field.submit(job, chunk_seconds=1)
    with pytest.raises(ParameterError, match="whole number from 1 up, or 'auto'"):
        field.submit(job, chunk_size=0)


def test_who_has_met_trouble_meanwhile_is_not_overruled(
    field: Yard, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another lane makes the size smaller between this one's look at it and its carve."""
    chosen, braked = sizing.size_now, list[int]()

    def and_then(runtime: Any, connection: Any, run: Any, **given: Any) -> sizing.Sized:
        sized = chosen(runtime, connection, run, **given)
        if sized.change is not None and given["number"] and not braked:
            braked.append(given["number"])
            size = Size(5, given["number"], Cause.LOCK, 5, given["number"])
            with field.transaction() as other:
                field.ledger.sizes.record(other, run.id, size, detail="a lock", actor="lane 7")
        return sized

    monkeypatch.setattr("breakbulk.runner.carve.size_now", and_then)
    handle = auto(field, costing(watch, lambda _id: 0.001))
    field.settle(handle)
    assert braked
    sizes = field.rows_of("sizes")
    at = next(place for place, row in enumerate(sizes) if row["ceiling"] == 5)
    assert sizes[at + 1]["ceiling"] is not None, "what was chosen before it is chosen anew"
    field.assert_proper(handle)
