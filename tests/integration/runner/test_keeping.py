"""Jobs that keep results: what is kept, and what becomes of what their code says.

Such jobs are Breakbulk's own; here they are declared by the internal flag.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from sqlalchemy import text, update
from sqlalchemy.exc import OperationalError

from breakbulk import Items, RunStatus
from breakbulk.domain.failing import FailurePolicy, OnFailure, Tolerance
from breakbulk.domain.retry import RetryPolicy
from breakbulk.domain.verdict import Again, Hopeless, Kept, LeftOut
from breakbulk.ledger.chunks import Chunks
from breakbulk.ledger.claims import Claims
from breakbulk.runner.submit import Order, Overlap
from tests.support.keeping import Other, fails_once, kept, sent, submit
from tests.support.yard import Boom, Yard, statements, tell

if TYPE_CHECKING:
    from breakbulk.runner.keeping import ItemChunk, ResultsRun


# Results


def test_each_item_keeps_its_result(yard: Yard) -> None:
    def process(chunk: ItemChunk) -> Kept:
        (item,) = chunk
        return Kept(json.dumps(item * 2) if item % 3 else None)

    handle = submit(yard, process, count=10)
    yard.settle(handle)
    assert handle.status() is RunStatus.SUCCEEDED
    assert kept(yard) == {n: json.dumps(n * 2) for n in range(1, 11) if n % 3}
    assert handle.audit().clean


def test_a_result_is_not_there_without_its_mark(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tally comes after both, in the same transaction."""
    fails_once(monkeypatch, Chunks, "tally")
    seen: list[dict[int, str]] = []

    def process(chunk: ItemChunk) -> Kept:
        seen.append(kept(yard))
        return Kept("1", outgoing=("mail",))

    monkeypatch.setattr("breakbulk.runner.attempt.Tally.due", lambda *_: True)
    handle = submit(yard, process, count=1)
    yard.settle(handle)
    assert handle.status() is RunStatus.SUCCEEDED
    assert seen == [{}, {}]
    assert kept(yard) == {1: "1"}
    assert sent(yard) == ["mail"]


def test_postgres_a_result_of_an_attempt_that_was_overtaken_is_not_kept(
    postgres_yard: Yard,
) -> None:
    yard = postgres_yard
    chunks = yard.ledger.database.schema.chunks
    tries: list[int] = []

    def process(chunk: ItemChunk) -> Kept:
        tries.append(chunk.attempt)
        if len(tries) == 1:
            with yard.transaction() as other:
                other.execute(update(chunks).values(owner=uuid4()))
        return Kept(json.dumps(len(tries)), outgoing=(f"mail {len(tries)}",))

    handle = submit(yard, process, count=1)
    yard.first_crew.work()
    assert tries == [1]
    assert kept(yard) == {}
    assert sent(yard) == []
    assert handle.status() is RunStatus.RUNNING


def test_what_says_nothing_fails(yard: Yard) -> None:
    handle = submit(yard, lambda _chunk: None, count=1, max_retries=0)
    yard.settle(handle)
    assert handle.status() is RunStatus.PARTIAL
    (failure,) = handle.failures()
    assert failure.error == "TypeError"
    assert "returned NoneType and not Kept" in failure.message


def test_an_ordinary_job_keeps_nothing_and_its_verdicts_are_errors(yard: Yard) -> None:
    def process(_chunk: Any) -> Kept:
        raise Again(0, Boom(), state="1")

    handle = yard.run(process, max_retries=1, on_failure="skip")
    assert handle.status() is RunStatus.PARTIAL
    assert {one.error for one in handle.failures()} == {"breakbulk.domain.verdict.Again"}
    assert len(handle.failures()) == 6, "three chunks, each tried twice"
    assert yard.count("item_states") == yard.count("results") == 0


def test_a_first_attempt_asks_for_no_state(yard: Yard) -> None:
    submit(yard, count=20)
    with statements(yard.engine) as seen:
        yard.first_crew.work()
    states = [one for one in seen if "item_states" in one]
    assert len(states) == 1, "the callback's"


# Outgoing


def test_what_goes_out_is_sent_after_the_commit(yard: Yard) -> None:
    def process(chunk: ItemChunk) -> Kept:
        (item,) = chunk
        return Kept(outgoing=(f"a {item}", f"b {item}"))

    handle = submit(yard, process, count=2)
    yard.settle(handle)
    assert sent(yard) == ["a 1", "b 1", "a 2", "b 2"]
    assert sent(yard) == []
    assert yard.count("results") == 0
    # Links that have waited for nothing have done their duty when their events have.
    with yard.transaction() as connection:
        assert yard.ledger.deliveries.sweep(connection, 3600, 100) == 0
    assert yard.count("links") == 4
    deliveries = yard.bulk.webhooks.deliveries(run=handle.id)
    assert {one.event for one in deliveries} == {"signature"}
    with yard.transaction() as connection:
        assert yard.ledger.deliveries.sweep(connection, -1, 100) == 4
    assert yard.count("links") == yard.count("deliveries") == 0


def test_a_run_sends_its_links_beside_them(yard: Yard) -> None:
    """What was sent at once is no link that waits for the end."""
    link = yard.celery.signature("team.told", immutable=True)
    job = yard.job(lambda _chunk: Kept(outgoing=("now",)), source=lambda: Items([1]), keeps=True)
    yard.settle(yard.submit(job, link=link))
    first, second = sent(yard)
    assert first == "now"
    assert "team.told" in second


# Again


def test_again_costs_no_try_and_hands_its_state_on(yard: Yard) -> None:
    seen: list[tuple[int, str | None]] = []

    def process(chunk: ItemChunk) -> Kept:
        seen.append((chunk.attempt, chunk.kept_state))
        if chunk.attempt < 8:
            raise Again(0, Boom(f"try {chunk.attempt}"), state=json.dumps(chunk.attempt * 10))
        return Kept("1")

    handle = submit(yard, process, count=1, max_retries=1)
    yard.settle(handle)
    assert handle.status() is RunStatus.SUCCEEDED
    assert seen == [(1, None), *((n, json.dumps((n - 1) * 10)) for n in range(2, 9))]
    failures = handle.failures()
    assert [one.attempt for one in failures] == [7, 6, 5, 4, 3, 2, 1]
    assert {one.error for one in failures} == {"tests.support.yard.Boom"}, "the cause's"
    assert handle.errors() == []


@pytest.mark.parametrize("end", ["fails for good", "is left out", "is done"])
def test_the_last_attempt_is_counted_behind_those_that_asked_for_another(
    yard: Yard, end: str
) -> None:
    """It was shown as the first again."""

    def process(chunk: ItemChunk) -> Kept:
        if chunk.attempt < 3:
            raise Again(0, Boom())
        if end == "fails for good":
            raise Hopeless(Boom())
        if end == "is left out":
            raise LeftOut("there is no need")
        return Kept("1")

    handle = submit(yard, process, count=1)
    yard.settle(handle)
    seen = handle.chunk_picture(1)
    assert seen is not None
    assert [one.number for one in seen.history.attempts] == [1, 2, 3]


def test_the_attempt_to_come_is_counted_behind_those_that_asked_for_another(yard: Yard) -> None:
    def process(_chunk: ItemChunk) -> Kept:
        raise Again(3600, Boom())

    handle = submit(yard, process, count=1)
    yard.first_crew.work()
    seen = handle.chunk_picture(1)
    assert seen is not None
    assert [one.number for one in seen.history.attempts] == [1, 2]


def test_again_waits_as_long_as_it_says(yard: Yard) -> None:
    def process(chunk: ItemChunk) -> Kept:
        if chunk.attempt == 1:
            raise Again(3600, Boom())
        return Kept()

    handle = submit(yard, process, count=1, retry_delay=0)
    crew = yard.first_crew
    crew.work()
    waits = handle.progress().waits
    assert waits is not None
    assert "the next try of a chunk is due in 3" in waits
    assert crew.work() is False
    yard.due()
    yard.settle(handle)
    assert handle.status() is RunStatus.SUCCEEDED


def test_again_without_a_state_takes_the_old_one_away(yard: Yard) -> None:
    seen: list[str | None] = []

    def process(chunk: ItemChunk) -> Kept:
        seen.append(chunk.kept_state)
        if chunk.attempt < 3:
            raise Again(0, Boom(), state="1" if chunk.attempt == 1 else None)
        return Kept()

    yard.settle(submit(yard, process, count=1))
    assert seen == [None, "1", None]


def test_a_state_is_not_there_unless_the_item_is_given_back(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails_once(monkeypatch, Claims, "give_back")
    seen: list[tuple[int, str | None]] = []

    def process(chunk: ItemChunk) -> Kept:
        seen.append((chunk.attempt, chunk.kept_state))
        if len(seen) == 1:
            raise Again(0, Boom(), state="1")
        return Kept()

    handle = submit(yard, process, count=1)
    yard.settle(handle)
    assert handle.status() is RunStatus.HELD, "an error outside of process()"
    assert yard.count("item_states") == yard.count("failures") == 0
    handle.resume()
    yard.settle(handle)
    assert handle.status() is RunStatus.SUCCEEDED
    assert seen == [(1, None), (1, None)]


@pytest.mark.parametrize(
    "verdict",
    [Again(0, Boom(), state="1"), Hopeless(Boom(), outgoing=["mail"]), LeftOut("not wanted")],
    ids=lambda verdict: type(verdict).__name__,
)
def test_postgres_who_was_overtaken_has_nothing_to_say(
    postgres_yard: Yard, verdict: Exception
) -> None:
    yard = postgres_yard
    chunks = yard.ledger.database.schema.chunks

    tries: list[int] = []

    def process(chunk: ItemChunk) -> Kept:
        tries.append(chunk.attempt)
        with yard.transaction() as other:
            other.execute(update(chunks).values(owner=uuid4()))
        raise verdict

    handle = submit(yard, process, count=1)
    yard.first_crew.work_until(lambda: tries)
    assert handle.status() is RunStatus.RUNNING
    for table in ("item_states", "failures", "quarantine", "deliveries", "waiting"):
        assert yard.count(table) == 0, table


@pytest.mark.parametrize("last", ["again", "hopeless"])
def test_postgres_a_verdict_survives_the_connection_that_was_lost(
    postgres_yard: Yard, last: str
) -> None:
    """A task whose session breaks asks for another try, as any task does that retries."""
    yard = postgres_yard
    seen: list[str | None] = []

    def process(chunk: ItemChunk) -> Kept:
        seen.append(chunk.kept_state)
        if len(seen) > 1:
            return Kept("1")
        pid = chunk.session.execute(text("SELECT pg_backend_pid()")).scalar_one()
        with yard.engine.connect() as other:
            other.execute(text(f"SELECT pg_terminate_backend({pid})"))
        with pytest.raises(OperationalError) as lost:
            chunk.session.execute(text("SELECT 1"))
        if last == "hopeless":
            raise Hopeless(lost.value) from lost.value
        raise Again(0, lost.value, state="1") from lost.value

    handle = submit(yard, process, count=2)
    yard.settle(handle)
    (failure,) = handle.failures()
    assert failure.error == "sqlalchemy.exc.OperationalError"
    if last == "again":
        assert handle.status() is RunStatus.SUCCEEDED
        assert sorted(seen, key=str) == ["1", None, None]
    else:
        assert handle.status() is RunStatus.PARTIAL
        assert seen == [None, None]


def test_an_ordinary_failure_between_keeps_the_state_and_costs_a_try(yard: Yard) -> None:
    seen: list[tuple[int, str | None]] = []

    def process(chunk: ItemChunk) -> Kept:
        seen.append((chunk.attempt, chunk.kept_state))
        if len(seen) == 1:
            raise Again(0, Boom(), state="1")
        raise Other

    handle = submit(yard, process, count=1, max_retries=1)
    yard.settle(handle)
    assert handle.status() is RunStatus.PARTIAL
    assert seen == [(1, None), (2, "1"), (3, "1")]


# Hopeless, and left out


def test_hopeless_is_tried_once_and_put_in_quarantine(yard: Yard) -> None:
    def process(chunk: ItemChunk) -> Kept:
        (item,) = chunk
        if item == 2:
            raise Hopeless(Boom("not this one"), outgoing=["mail"])
        return Kept("1")

    handle = submit(yard, process)
    yard.settle(handle)
    assert handle.status() is RunStatus.PARTIAL
    (row,) = handle.errors()
    assert (row.key, row.error, row.message) == ("[2]", "tests.support.yard.Boom", "not this one")
    assert len(handle.failures()) == 1
    assert kept(yard) == {1: "1", 3: "1"}
    assert sent(yard) == ["mail"]


@pytest.mark.parametrize(
    ("on_failure", "status", "quarantined"),
    [("isolate", RunStatus.PARTIAL, 1), ("skip", RunStatus.PARTIAL, 0)],
)
def test_what_becomes_of_hopeless_is_the_policys_to_say(
    yard: Yard, on_failure: str, status: RunStatus, quarantined: int
) -> None:
    def process(_chunk: ItemChunk) -> Kept:
        raise Hopeless(Boom())

    handle = submit(yard, process, count=1, on_failure=on_failure)
    yard.settle(handle)
    assert handle.status() is status
    assert handle.quarantined() == quarantined


def test_hopeless_stops_a_run_that_is_to_stop(yard: Yard) -> None:
    def process(chunk: ItemChunk) -> Kept:
        (item,) = chunk
        if item == 2:
            raise Hopeless(Boom("no"), outgoing=["mail"])
        return Kept("1")

    handle = submit(yard, process, count=50, on_failure="stop")
    yard.settle(handle)
    record = handle.record()
    assert record.status is RunStatus.FAILED
    assert record.reason == "chunk 2 failed: tests.support.yard.Boom: no"
    assert kept(yard) == {1: "1"}
    assert sent(yard) == ["mail"]


def test_hopeless_is_never_a_suspicion(yard: Yard) -> None:
    """Everything fails alike, and it is not the run's fault: the tasks have said so."""

    def process(_chunk: ItemChunk) -> Kept:
        raise Hopeless(Boom("the same for all"))

    job = yard.job(process, source=lambda: Items(range(12)), keeps=True, finished=tell)
    handle = yard.submit(job)
    yard.settle(handle)
    assert handle.status() is RunStatus.PARTIAL
    assert len(handle.failures()) == handle.quarantined() == 12
    assert yard.notices() == ["partial 0"]


def test_nothing_of_hopeless_is_there_unless_the_item_is_put_away(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails_once(monkeypatch, Claims, "retire")

    def process(_chunk: ItemChunk) -> Kept:
        raise Hopeless(Boom(), outgoing=["mail"])

    handle = submit(yard, process, count=1)
    yard.settle(handle)
    assert handle.status() is RunStatus.HELD
    assert yard.count("failures") == yard.count("deliveries") == 0
    handle.resume()
    yard.settle(handle)
    assert handle.status() is RunStatus.PARTIAL
    assert sent(yard) == ["mail"]


@pytest.mark.parametrize("on_failure", ["isolate", "stop"])
def test_what_is_left_out_is_skipped_whatever_the_policy(yard: Yard, on_failure: str) -> None:
    def process(chunk: ItemChunk) -> Kept:
        (item,) = chunk
        if item == 2:
            raise LeftOut("nobody wants it")
        return Kept("1")

    handle = submit(yard, process, on_failure=on_failure)
    yard.settle(handle)
    record = handle.record()
    assert record.status is RunStatus.PARTIAL
    assert record.summary is not None
    assert (record.summary.rows_done, record.summary.rows_failed) == (2, 1)
    assert handle.quarantined() == 0
    (failure,) = handle.failures()
    assert (failure.error, failure.message) == ("LeftOut", "nobody wants it")
    assert {row["status"] for row in yard.rows_of("chunks", "number = 2")} == {"skipped"}


# Rounds


def test_the_next_round_keeps_results_and_begins_without_states(yard: Yard) -> None:
    seen: list[tuple[int, int, int, str | None]] = []

    def process(chunk: ItemChunk) -> Kept:
        (item,) = chunk
        seen.append((chunk.run.round, item, chunk.attempt, chunk.kept_state))
        if item == 2 and chunk.run.round == 1:
            if chunk.attempt == 1:
                raise Again(0, Boom(), state="1")
            raise Hopeless(Boom())
        if item == 2 and chunk.attempt == 1:
            raise Other
        return Kept(json.dumps(chunk.run.round))

    def finished(run: ResultsRun) -> None:
        run.keep(json.dumps(f"round {run.round}"))
        tell(run)

    handle = submit(yard, process, finished=finished, max_retries=1)
    yard.settle(handle)
    assert kept(yard) == {0: '"round 1"', 1: "1", 3: "1"}
    handle.retry()
    yard.settle(handle)
    assert handle.status() is RunStatus.SUCCEEDED
    assert kept(yard) == {0: '"round 2"', 1: "1", 2: "2", 3: "1"}
    of_two = [one for one in seen if one[1] == 2]
    assert of_two == [(1, 2, 1, None), (1, 2, 2, "1"), (2, 2, 1, None), (2, 2, 2, None)]
    assert yard.notices() == ["partial 2", "succeeded 3"]


# By order


def test_an_order_brings_its_own_policy(yard: Yard) -> None:
    def process(_chunk: ItemChunk) -> Kept:
        raise Boom

    job = yard.job(process, source=lambda: Items([1, 2]), keeps=True, max_retries=5)
    policy = FailurePolicy(
        RetryPolicy(max_retries=1, retry_delay=0), OnFailure.SKIP, Tolerance.parsed("100%"), 7.0
    )
    order = Order("celery", "test", overlap=Overlap.ALLOW, policy=policy)
    handle = yard.bulk.starting.place(job(), order)
    assert handle.record().policy == policy
    yard.settle(handle)
    assert handle.status() is RunStatus.PARTIAL
    assert len(handle.failures()) == 4
