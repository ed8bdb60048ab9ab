"""What parts may do, and what becomes of what they say."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from celery.exceptions import Ignore, Reject
from celery.exceptions import TimeoutError as CeleryTimeout
from sqlalchemy import create_engine, insert, select, text
from sqlalchemy.orm import Session

import breakbulk
from breakbulk import RunStatus
from breakbulk.canvas import CanvasResult, chain, chord, group, result
from breakbulk.errors import PartFailed
from breakbulk.parts import results as results_of_parts
from tests.integration.canvas.conftest import Team
from tests.support.yard import Base, Goods, Yard

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine


def test_chains_as_parts(team: Team) -> None:
    row = chain(team.add.s(1, 1), team.add.s(10), team.add.s(100))
    handle = group(row, team.add.s(5)).apply_async()
    team.settle(handle)
    assert handle.get() == [112, 5]


def test_a_chain_goes_on_where_it_has_asked_for_a_retry(team: Team) -> None:
    seen = []

    @team.task()
    def second(value: int) -> int:
        seen.append((value, second.request.retries, second.request.parent_id))
        if second.request.retries < 2:
            raise second.retry(countdown=0)
        return value + 1

    first = team.add.s(1, 1)
    first.link(team.tell.s("linked"))
    handle = group(chain(first, second.s(), team.add.s(10))).apply_async()
    team.settle(handle)
    assert handle.get() == [13]
    assert len([one for one in team.told_of("add") if one == [1, 1]]) == 1
    assert [one[:2] for one in seen] == [(2, 0), (2, 1), (2, 2)]
    assert len({one[2] for one in seen}) == 1
    assert team.told_of("tell") == [[2, "linked"]], "once, when the part is done"


def test_a_retry_may_change_arguments(team: Team) -> None:
    seen: list[Any] = []

    @team.task()
    def walk(at: int, *, step: int = 1) -> int:
        seen.append((at, step))
        if at < 3:
            raise walk.retry(args=(at + step,), kwargs={"step": step}, countdown=0)
        return at

    handle = group(walk.s(0, step=2)).apply_async()
    team.settle(handle)
    assert (handle.get(), seen) == ([4], [(0, 2), (2, 2), (4, 2)])


def test_ignore_and_ignore_result(team: Team) -> None:
    @team.task()
    def ignored() -> None:
        raise Ignore

    @team.task(ignore_result=True)
    def silent() -> int:
        return 1

    handle = chord([ignored.s(), silent.s(), team.add.s(3)], team.tell.s()).apply_async()
    team.settle(handle)
    assert handle.get() == [None, None, 3]


def test_reject(team: Team) -> None:
    calls: list[int] = []

    @team.task()
    def back() -> int:
        calls.append(1)
        if len(calls) < 3:
            raise Reject("not now", requeue=True)
        return 1

    @team.task(name="team.away")
    def away() -> None:
        raise Reject("not mine")

    handle = group(back.s()).apply_async()
    team.settle(handle)
    assert (handle.get(), len(calls)) == ([1], 3)
    for policy in (None, "stop"):
        header = group([away.s(), team.add.s(1)], on_failure=policy)
        handle = chord(header, team.tell.s()).apply_async()
        team.settle(handle)
        assert handle.run.status() is RunStatus.PARTIAL
        assert team.told_of("tell") == []
        with pytest.raises(PartFailed, match="rejected by itself: not mine"):
            handle.get()


@pytest.mark.parametrize("value", [object(), "x" * 70_000], ids=["no JSON", "too large"])
def test_results_that_cannot_be_kept(team: Team, value: Any) -> None:
    @team.task()
    def give() -> Any:
        return value

    handle = chord([give.s(), team.add.s(1)], team.tell.s()).apply_async()
    team.settle(handle)
    with pytest.raises(PartFailed, match=r"Part 1 .* returned"):
        handle.get()
    # Nobody asks for them.
    handle = chord([give.s(), team.add.s(1)], team.tell.si("fine")).apply_async()
    team.settle(handle)
    assert handle.get() == "fine"


def test_many_results_are_a_sequence(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results_of_parts, "MOST_LISTED", 5)
    monkeypatch.setattr(results_of_parts, "PAGE", 4)
    seen: list[Any] = []

    @team.task()
    def body(results: Sequence[int]) -> int:
        seen.append(type(results))
        assert isinstance(results, Sequence)
        assert (len(results), results[6], results[-1], results[3:5]) == (10, 6, 9, [3, 4])
        return sum(results)

    handle = chord([team.add.s(n) for n in range(10)], body.s()).apply_async()
    team.settle(handle)
    assert handle.get() == 45
    assert seen == [results_of_parts.Results]


def test_a_part_through_the_session_is_done_exactly_once(team: Team) -> None:
    team.broken = {2}
    handle = group([team.count.s(n) for n in (1, 2, 3)]).apply_async()
    team.settle(handle)
    with Session(team.yard.engine) as session:
        rows = session.execute(select(Goods.id, Goods.version).where(Goods.id <= 3)).all()
    assert sorted(map(tuple, rows)) == [(1, 1), (2, 0), (3, 1)], "what has failed is rolled back"
    team.broken = set()
    handle.retry()
    team.settle(handle)
    assert [team.yard.versions()[n] for n in (1, 2, 3)] == [1, 1, 1]


def test_a_task_nobody_knows_holds_the_run(team: Team) -> None:
    handle = group([team.app.signature("team.unknown")]).apply_async()
    team.settle(handle)
    record = handle.run.record()
    assert record.status is RunStatus.HELD
    assert "team.unknown is not known to this worker" in (record.reason or "")
    with pytest.raises(CeleryTimeout, match=r"still held after 0 s \(.*not known.* and resume it"):
        handle.get(timeout=0)


def test_the_eager_mode_works_at_once(team: Team) -> None:
    team.app.conf.task_always_eager = True
    try:
        handle = chord([team.add.s(n, n) for n in range(3)], team.tell.s()).apply_async()
        assert handle.get(timeout=0) == [0, 2, 4]
        handle = chain(team.add.s(1), group(team.add.s(1), team.add.s(2)), team.tell.s())()
        assert handle.get(timeout=0) == [2, 3]
    finally:
        team.app.conf.task_always_eager = False


def test_a_countdown_delays_the_whole(team: Team) -> None:
    handle = group([team.add.s(1)]).apply_async(countdown=3600)
    crew = team.yard.first_crew
    crew.tick()
    crew.work()
    assert team.told == []
    assert handle.run.record().not_before is not None


def test_a_part_s_own_countdown_delays_it(team: Team) -> None:
    handle = group([team.add.s(1).set(countdown=2), team.add.s(2)]).apply_async()
    team.settle(handle)
    assert [x for x, _ in team.told_of("add")] == [2, 1]
    assert handle.run.failures() == []


def test_parents_and_roots_are_those_of_who_applies_it(team: Team) -> None:
    seen: dict[str, Any] = {}

    @team.task()
    def look() -> None:
        request = look.request
        seen["part"] = (request.root_id, request.parent_id)

    @team.task()
    def apply() -> str:
        seen["task"] = apply.request.id
        return group([look.s()]).apply_async().id

    own = apply.apply()
    team.settle(result(team.app, own.get()))
    assert seen["part"] == (seen["task"], seen["task"])


def test_postgres_a_deadlock_in_its_session_costs_nothing(postgres_yard: Yard) -> None:
    team = Team(postgres_yard)
    calls: list[int] = []

    @team.task()
    def clash() -> str:
        session = breakbulk.current_chunk().session
        calls.append(1)
        if len(calls) < 3:
            session.execute(text("DO $$ BEGIN RAISE 'in the way' USING ERRCODE = '40P01'; END $$"))
        return "done"

    handle = group(clash.s()).apply_async()
    team.settle(handle)
    assert (handle.get(), len(calls)) == (["done"], 3)
    assert handle.run.failures() == []


def test_an_error_of_its_session_that_is_its_own_fails_it(team: Team) -> None:
    @team.task()
    def twice() -> None:
        session = breakbulk.current_chunk().session
        session.execute(insert(Goods), [{"id": 1}])

    handle = group(twice.s()).apply_async()
    team.settle(handle)
    with pytest.raises(PartFailed, match="IntegrityError"):
        handle.get()
    assert len(handle.run.failures()) == 1


def test_tasks_in_front_within_a_transaction_and_with_a_key(team: Team) -> None:
    def apply(session: Session | None = None) -> CanvasResult:
        whole = chain(team.add.s(1), group(team.add.s(10)), team.tell.s())
        return whole.apply_async(idempotency_key="tonight", session=session)

    with Session(team.yard.engine) as session:
        apply(session)
        session.rollback()
    assert team.yard.count("runs") == 0
    with Session(team.yard.engine) as session:
        handle = apply(session)
        session.commit()
    again = apply()
    assert handle.leading is not None
    assert again.leading is not None
    assert (again.id, again.leading.id) == (handle.id, handle.leading.id)
    assert team.yard.count("runs") == 2
    team.yard.settle(handle.leading)
    team.send()
    team.settle(handle)
    assert handle.get() == [11]
    assert apply().get() == [11]


def test_rows_may_be_in_another_database(clean_engine: Engine, tmp_path: Path) -> None:
    rows = create_engine(f"sqlite:///{tmp_path / 'rows.sqlite'}")
    Base.metadata.create_all(rows)
    with rows.begin() as connection:
        connection.execute(insert(Goods), [{"id": number} for number in (1, 2, 3)])
    yard = Yard(clean_engine, shared=True, data=rows, at_least_once=True)
    team = Team(yard)
    team.broken = {3}
    whole = chain(team.add.s(1), group(team.add.s(10), team.count.si(2), team.count.si(3)))
    body = team.tell.s()
    body.link(team.tell.s("linked"))
    handle = (whole | body).apply_async()
    assert handle.leading is not None
    yard.settle(handle.leading)
    team.send()
    team.settle(handle)
    assert handle.state == "FAILURE"
    team.broken = set()
    handle.retry()
    team.settle(handle)
    assert handle.get() == [11, None, None]
    assert team.told_of("tell") == [[[11, None, None]], [[11, None, None], "linked"]]
    with rows.connect() as connection:
        versions = connection.execute(select(Goods.version).order_by(Goods.id)).scalars().all()
    assert versions == [0, 1, 1]
    yard.close()
    rows.dispose()


def test_a_part_starts_a_canvas_of_its_own_in_its_transaction(team: Team) -> None:
    started: list[str] = []

    @team.task()
    def start(n: int) -> None:
        session = breakbulk.current_chunk().session
        inner = group([team.add.s(n), team.add.s(n + 1)])
        started.append(inner.apply_async(session=session).id)
        if start.request.retries < 1:
            raise start.retry(countdown=0)

    handle = group([start.s(10)]).apply_async()
    team.settle(handle)
    rolled_back, kept = started
    inner = result(team.app, kept)
    team.settle(inner)
    assert inner.get() == [10, 11]
    assert len(team.yard.bulk.runs()) == 2, f"{rolled_back} was rolled back with its attempt"


@pytest.mark.parametrize("when", [{"countdown": 1e15}, {"eta": datetime.max.replace(tzinfo=UTC)}])
def test_a_retry_that_is_further_away_than_the_calendar_goes(
    team: Team, when: dict[str, Any]
) -> None:
    @team.task(bind=True)
    def never(self: Any) -> None:
        raise self.retry(**when)

    handle = group([never.s(), team.add.s(1)]).apply_async()
    crew = team.yard.first_crew
    crew.tick()
    crew.work()
    assert [chunk.status for chunk in handle.run.chunks()] == ["waiting", "succeeded"]
    assert "the next try" in (handle.progress.waits or "")


def test_a_part_may_change_what_it_is_given_in_place(team: Team) -> None:
    seen: list[list[int]] = []

    @team.task(bind=True)
    def shorten(self: Any, numbers: list[int]) -> str:
        seen.append(list(numbers))
        numbers.pop()
        if numbers:
            raise self.retry(args=(numbers,), countdown=0)
        return "done"

    handle = group([shorten.s([1, 2, 3])]).apply_async()
    team.settle(handle)
    assert (handle.get(), seen) == (["done"], [[1, 2, 3], [1, 2], [1]])


def test_each_part_has_a_value_of_its_own_from_the_task_in_front(team: Team) -> None:
    @team.task()
    def give() -> list[int]:
        return [1, 2]

    @team.task()
    def take(numbers: list[int]) -> list[int]:
        numbers.append(3)
        return numbers

    handle = chain(give.s(), group(take.s() for _ in range(3))).apply_async()
    assert handle.leading is not None
    team.yard.settle(handle.leading)
    team.send()
    team.settle(handle)
    assert handle.get() == [[1, 2, 3]] * 3
