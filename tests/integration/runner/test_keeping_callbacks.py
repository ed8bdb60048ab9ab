"""What a callback of a job that keeps results reads, keeps and says."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from sqlalchemy import update

from breakbulk import RunStatus
from breakbulk.domain.verdict import Again, Hopeless, Kept
from breakbulk.ledger.finishers import Finishers
from tests.support.keeping import Other, fails_once, kept, sent, submit
from tests.support.yard import Boom, Goods, Notice, Yard, tell

if TYPE_CHECKING:
    from breakbulk.runner.keeping import ItemChunk, ResultsRun


def test_the_callback_reads_results_and_keeps_its_own(yard: Yard) -> None:
    read: list[Any] = []

    def finished(run: ResultsRun) -> None:
        read.extend([run.results(3, 6), run.result(2), run.result(99), run.results(1, 100)])
        run.keep('"done"')
        run.outgoing.append("mail")
        tell(run)

    handle = submit(yard, count=12, finished=finished)
    yard.settle(handle)
    assert read[0] == {3: "6", 4: "8", 5: "10"}
    assert read[1:3] == ["4", None]
    assert read[3] == {n: json.dumps(n * 2) for n in range(1, 13)}
    assert kept(yard)[0] == '"done"'
    assert sent(yard) == ["mail"]


def test_what_a_callback_leaves_is_written_with_the_end_or_not_at_all(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else calls back meanwhile."""
    runs = yard.ledger.database.schema.runs
    tries: list[int] = []

    def finished(run: ResultsRun) -> None:
        tries.append(run.attempt)
        run.keep(json.dumps(len(tries)))
        run.outgoing.append(f"mail {len(tries)}")
        if len(tries) == 1:
            # In the same transaction, so on SQLite, too.
            run.session.execute(update(runs).values(finisher=uuid4()))

    handle = submit(yard, count=1, finished=finished)
    yard.settle(handle)
    assert tries == [1, 2]
    assert kept(yard)[0] == "2"
    assert sent(yard) == ["mail 2"]


def test_postgres_a_callback_that_cannot_commit_leaves_nothing(postgres_yard: Yard) -> None:
    """A constraint that is looked at last of all."""
    yard = postgres_yard
    tries: list[int] = []

    def finished(run: ResultsRun) -> None:
        tries.append(run.attempt)
        run.outgoing.append(f"mail {len(tries)}")
        if len(tries) == 1:
            run.session.add(Goods(id=1000, shelf=4711))

    handle = submit(yard, count=1, finished=finished)
    yard.settle(handle)
    assert handle.status() is RunStatus.SUCCEEDED
    assert tries == [1, 2]
    assert sent(yard) == ["mail 2"]


def test_again_from_the_callback_costs_no_try(yard: Yard) -> None:
    seen: list[tuple[int, str | None]] = []

    def finished(run: ResultsRun) -> None:
        seen.append((run.attempt, run.kept_state))
        run.keep("0")
        run.outgoing.append("never sent")
        if len(seen) < 5:
            raise Again(0, Boom(f"try {run.attempt}"), state=json.dumps(len(seen)))
        run.outgoing[:] = ["mail"]
        tell(run)

    handle = submit(yard, count=1, finished=finished, max_retries=0)
    yard.settle(handle)
    assert handle.status() is RunStatus.SUCCEEDED
    assert seen == [(1, None), (2, "1"), (3, "2"), (4, "3"), (5, "4")]
    assert [one.attempt for one in handle.failures()] == [4, 3, 2, 1]
    assert sent(yard) == ["mail"]


def test_hopeless_from_the_callback_fails_the_run_and_tells_its_twin(yard: Yard) -> None:
    seen: list[tuple[str, int, str | None]] = []

    def finished(run: ResultsRun) -> None:
        seen.append(("finished", run.attempt, run.kept_state))
        if run.attempt == 1:
            raise Again(0, Boom(), state="1")
        raise Hopeless(Boom("for good"), outgoing=["of finished"])

    def failed(run: ResultsRun) -> None:
        seen.append(("failed", run.attempt, run.kept_state))
        if run.attempt == 1:
            raise Again(0, Other(), state="2")
        run.outgoing.append("of failed")

    handle = submit(yard, count=1, finished=finished, failed=failed, max_retries=5)
    yard.settle(handle)
    record = handle.record()
    assert record.status is RunStatus.FAILED
    assert record.callback_failed
    assert "tests.support.yard.Boom: for good" in (record.reason or "")
    assert seen == [
        ("finished", 1, None),
        ("finished", 2, "1"),
        ("failed", 1, None),
        ("failed", 2, "2"),
    ]
    assert sent(yard) == ["of finished", "of failed"]


def test_a_callback_that_is_tried_again_by_hand_begins_anew(yard: Yard) -> None:
    seen: list[tuple[int, str | None]] = []

    def finished(run: ResultsRun) -> None:
        seen.append((run.attempt, run.kept_state))
        if len(seen) == 1:
            raise Again(0, Boom(), state="1")
        if len(seen) == 2:
            raise Hopeless(Boom())

    handle = submit(yard, count=1, finished=finished)
    yard.settle(handle)
    assert handle.status() is RunStatus.FAILED
    assert [one.attempt for one in handle.failures()] == [2, 1]
    handle.finish()
    yard.settle(handle)
    assert handle.status() is RunStatus.SUCCEEDED
    assert seen == [(1, None), (2, "1"), (1, None)]


@pytest.mark.parametrize(
    "verdict",
    [Again(0, Boom(), state="1"), Hopeless(Boom(), outgoing=["mail"])],
    ids=lambda verdict: type(verdict).__name__,
)
def test_a_callback_that_was_overtaken_has_nothing_to_say(
    postgres_yard: Yard, verdict: Exception
) -> None:
    yard = postgres_yard
    runs = yard.ledger.database.schema.runs

    tries: list[int] = []

    def finished(run: ResultsRun) -> None:
        tries.append(run.attempt)
        with yard.transaction() as other:
            other.execute(update(runs).values(finisher=uuid4()))
        raise verdict

    handle = submit(yard, count=1, finished=finished)
    yard.first_crew.work_until(lambda: tries)
    assert handle.status() is RunStatus.FINISHING
    for table in ("item_states", "failures", "deliveries"):
        assert yard.count(table) == 0, table


def test_postgres_attempts_without_end_can_be_written_down(postgres_yard: Yard) -> None:
    yard = postgres_yard
    states = yard.ledger.database.schema.item_states

    def asks_again(at: ItemChunk | ResultsRun) -> Kept:
        if at.attempt == 1:
            raise Again(0, Boom())
        if at.attempt == 2:
            with yard.transaction() as other:
                other.execute(update(states).values(agains=100_000))
            raise Again(0, Boom())
        return Kept()

    handle = submit(yard, asks_again, count=1, finished=asks_again)
    yard.settle(handle)
    assert handle.status() is RunStatus.SUCCEEDED
    assert [one.attempt for one in handle.failures()] == [32_767, 1] * 2


def test_an_ordinary_error_of_the_callback_keeps_to_the_policy(yard: Yard) -> None:
    def finished(_run: ResultsRun) -> None:
        raise Boom

    handle = submit(yard, count=1, finished=finished, max_retries=2)
    yard.settle(handle)
    assert handle.status() is RunStatus.FAILED
    assert [one.attempt for one in handle.failures()] == [3, 2, 1]


def test_a_callback_whose_outcome_cannot_be_written_is_called_again(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails_once(monkeypatch, Finishers, "free")
    tries: list[int] = []

    def finished(run: ResultsRun) -> None:
        tries.append(run.attempt)
        if len(tries) == 1:
            raise Again(0, Boom(), state="1")
        run.session.add(Notice(run=run.id, words=str(run.kept_state)))

    handle = submit(yard, count=1, finished=finished)
    with pytest.raises(Boom):
        yard.first_crew.work()
    assert yard.count("item_states") == yard.count("failures") == 0
    yard.settle(handle)
    assert yard.notices() == ["None"]
