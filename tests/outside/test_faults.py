"""What neither Celery's tests nor its chord foresee: deaths and losses at the worst moment."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from breakbulk.canvas import submitting
from tests.outside import publisher
from tests.outside.scenario import scenario
from tests.outside.yard import Yard
from tests.support.databases import fresh_postgres
from tests.support.proxy import Fate, Proxy
from tests.support.relay import Relay

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.servers import Servers

ORIGIN = "What is not among Celery's tests"
SMOKE = "Celery's smoke tests: workers that end"
_ROOT = Path(__file__).parents[2]
_UNCLEAR = "unclear"
_MARK = "its commit is to be unclear"
_TRIES = 10
#: Seconds in which a part may die six times.
_LONG = 120.0


@scenario(
    SMOKE,
    "a worker dies with a part in hand, another one takes its place: the body is called",
    celery="the part's message waits for the visibility timeout, by default an hour",
)
def test_worker_failover(yard: Yard) -> None:
    tasks = yard.tasks
    header = [tasks.held.si(1, yard["gate"]), *(tasks.identity.si(n) for n in range(2, 8))]
    yard.chord(header, tasks.note.s(key=yard["body"]))()
    yard.until_at("gate")
    yard.camp.worker.kill_all()
    yard.open("gate")
    yard.camp.worker = yard.start_worker()
    try:
        assert yard.until_noted("body") == [[list(range(1, 8))]]
    finally:
        yard.forget_in_hand()


@scenario(SMOKE, "SIGTERM with parts in hand and others waiting, a new worker: all done once")
def test_worker_shutdown_acks(yard: Yard) -> None:
    tasks = yard.tasks
    header = [tasks.held.si(n, yard["gate"], key=yard["part"]) for n in range(8)]
    yard.chord(header, tasks.note.s(key=yard["body"]))()
    yard.until_at("gate")
    yard.camp.worker.terminate()
    yard.open("gate")
    assert yard.camp.worker.wait() == 0
    yard.camp.worker = yard.start_worker()
    assert yard.until_noted("body") == [[list(range(8))]]
    assert sorted(value for (value,) in yard.notes("part")) == list(range(8))


@scenario(SMOKE, "a part runs into its hard time limit: told once, and the worker goes on working")
def test_hard_time_limit_leaves_the_worker_working(yard: Yard) -> None:
    tasks = yard.tasks
    body = tasks.note.s(key=yard["body"]).on_error(tasks.told.s(key=yard["told"]))
    header = [tasks.identity.si(1), tasks.patient.si(20).set(time_limit=1)]
    handle = yard.chord(header, body)()
    assert "TimeLimitExceeded" in yard.failure(handle)
    yard.until_noted("told")
    yard.settle()
    assert len(yard.notes("told")) == 1
    assert yard.result(yard.chord([tasks.identity.si(1)], tasks.total.s())()) == 1


@scenario(
    ORIGIN,
    "the publisher is killed before the last part: the chord ends, and applied again it is called"
    " back once",
    celery="the header's size is stored with its last part, so it never ends, and nobody is told",
)
def test_publisher_killed_before_the_last_part(yard: Yard) -> None:
    names = {name: yard[name] for name in ("part", "body", "told", "job")}
    with yard.aside():
        done = subprocess.run(
            [sys.executable, "-m", "tests.outside.publisher", json.dumps(names)],
            cwd=_ROOT,
            env={**os.environ, **yard.camp.config.environment()},
            check=False,
        )
    if done.returncode != -signal.SIGKILL:
        raise AssertionError("the publisher was to die")
    yard.settle()
    assert yard.notes("told") or yard.notes("body")
    publisher.submit(yard.camp.built, names, die=False)
    yard.until_noted("body")
    yard.settle()
    assert yard.notes("body") == [[list(range(publisher.PARTS))]]


@scenario(
    ORIGIN,
    "the process is killed between the last part's done-mark and the body's publishing",
    celery="the part counts as done, its message is acknowledged, and nobody publishes the body",
    sampled=True,
    session=True,
)
def test_killed_before_the_body(yard: Yard) -> None:
    place = "before callback" if yard.ours else "before publishing outside.called_back"
    _strike(yard, place)
    assert yard.callbacks("job") == ["[[1, 2, 3]]"]


@scenario(
    ORIGIN,
    "killed between the body's publishing and what is cleared up after it; then the last part's"
    " message comes again",
    celery="its claim has lapsed meanwhile, so the body is published twice",
    session=True,
)
def test_killed_after_the_body(yard: Yard) -> None:
    place = "after finish" if yard.ours else "after publishing outside.called_back"
    handle, messages = _strike(yard, place)
    if not yard.ours:
        yard.prepare(lambda: yard.claim_lapsed(handle), "the claim to lapse", timeout=60)
    yard.redeliver(messages)
    yard.settle()
    assert yard.callbacks("job") == ["[[1, 2, 3]]"]


@scenario(
    ORIGIN,
    "killed right after a part's result is stored",
    celery="the message is acknowledged because the result is there, and the part is never counted",
    sampled=True,
    session=True,
)
def test_killed_after_the_result(yard: Yard) -> None:
    _strike(yard, "after item" if yard.ours else "after storing")
    assert yard.callbacks("job") == ["[[1, 2, 3]]"]


def _strike(yard: Yard, place: str) -> tuple[Any, dict[str, str]]:
    """Kill who comes to a place with the last part in hand; the chord, and that part's message."""
    tasks = yard.tasks
    header = [*(tasks.identity.si(n) for n in (1, 2)), tasks.held.si(3, yard["gate"])]
    handle = yard.chord(header, tasks.called_back.s(job=yard["job"]))()
    yard.until_at("gate")
    yard.prepare(lambda: len(yard.in_hand()) == 1 or yard.ours, "the others to be done")
    messages = yard.in_hand()
    yard.lay(place)
    yard.open("gate")
    yard.prepare(lambda: yard.sprung(place), f"somebody to die {place}")
    yard.settle()
    return handle, messages


@scenario(
    ORIGIN,
    "the same part runs twice at once and gives different values: one of them stands, and the body"
    " is called once",
)
def test_same_part_twice_at_once(yard: Yard) -> None:
    tasks = yard.tasks
    header = [tasks.drawn.si(yard["draw"], yard["draws"]), tasks.held.si("held", yard["gate"])]
    handle = yard.chord(header, tasks.note.s(key=yard["body"]))()
    yard.until_at("draw1")
    yard.until_at("gate")
    if yard.ours:
        _twice_at_once(yard)
    else:
        yard.redeliver(yard.in_hand())
        yard.until_at("draw2")
        yard.open("draw2")
        yard.open("draw1")
    yard.open("gate")
    yard.until_noted("body")
    yard.until_noted("draws:given", 2)
    yard.settle()
    ((given,),) = yard.notes("body")
    assert given in ([1, "held"], [2, "held"])
    if yard.ours:
        assert list(handle.results()) == given, "nor does another value come later"


def _twice_at_once(yard: Yard) -> None:
    """Have a part run by two of our workers: no message is a part's that could come twice.

    A machine is suspended in the middle of it, and goes on when another one has done the part.
    """
    frozen = yard.camp.worker.family()
    for process in frozen:
        process.suspend()
    other = yard.start_worker()
    try:
        yard.until_at("draw2")
        yard.open("draw2")
        yard.open("gate")
        yard.until_noted("body")
    finally:
        for process in frozen:
            process.resume()
    yard.open("draw1")
    yard.until_noted("draws:given", 2)
    other.terminate()
    assert other.wait() == 0


@scenario(
    ORIGIN,
    "the task before a group is delivered twice: the body is called once",
    celery="each delivery of the first task publishes the whole chord again, so the body is called"
    " twice",
)
def test_the_task_in_front_twice(yard: Yard) -> None:
    tasks = yard.tasks
    parts = yard.group([tasks.note.s(key=yard["part"]) for _ in range(2)])
    yard.chain(tasks.held.si(42, yard["gate"]), parts, tasks.note.s(key=yard["body"])).delay()
    yard.until_at("gate")
    yard.redeliver(yard.in_hand())
    # Both copies are in hand, or there was only one to be worked.
    yard.prepare(lambda: len(yard.in_hand()) >= 2, "the second copy to be delivered")
    yard.open("gate")
    yard.until_noted("body")
    yard.settle()
    assert len(yard.notes("body")) == 1
    assert len(yard.notes("part")) == 2


@scenario(
    ORIGIN,
    "the broker is flushed while parts are in hand and others wait: the body is called",
    celery="the messages of the parts that waited are gone, and with them the body",
)
def test_broker_flushed(yard: Yard) -> None:
    tasks = yard.tasks
    header = [tasks.held.si(n, yard["gate"], key=yard["part"]) for n in range(12)]
    yard.chord(header, tasks.note.s(key=yard["body"]))()
    yard.until_at("gate", 1 if yard.ours else 3)
    yard.flush_broker()
    yard.open("gate")
    try:
        yard.until_noted("part", 3)
        yard.settle()
        assert yard.notes("body") == [[list(range(12))]]
    finally:
        yard.camp.start_anew()


@pytest.fixture
def doubling(yard: Yard, test_servers: Servers) -> Iterator[Yard]:
    """The contestant once more, behind a relay that delivers every message twice."""
    broker = yard.camp.broker.url.removesuffix("/0")
    relay = Relay(f"{broker}/1", f"{broker}/2", "doubled")
    with fresh_postgres(test_servers.postgres) as database, relay:
        config = yard.camp.with_config(
            broker=relay.heard_at, database=database, queue="doubled", celery=relay.settings
        )
        with yard.camp.beside(config) as (built, engine):
            made = Yard(yard.camp, built, engine=engine, number=2)
            relay.deal = lambda: (0.0, 0.0)
            yield made
            made.close()


@scenario(
    ORIGIN,
    "every message is delivered twice: every part's change to the database is there once, and the"
    " body's",
    celery="whatever a part and the body do, they do it for each delivery",
    session=True,
)
def test_every_message_twice(doubling: Yard) -> None:
    tasks = doubling.tasks
    header = [tasks.row.si(number) for number in range(8)]
    doubling.chord(header, tasks.called_back.s(job=doubling["job"]))()
    doubling.until(lambda: doubling.callbacks("job"), "the body to be called")
    doubling.settle()
    assert doubling.rows() == list(range(8))
    assert len(doubling.callbacks("job")) == 1


@scenario(
    ORIGIN,
    "the broker refuses messages when the body's turn comes, and takes them again later",
    celery="it counts as failed at once, and is never called",
    session=True,
)
def test_publish_of_the_body_refused(yard: Yard) -> None:
    tasks = yard.tasks
    body = tasks.called_back.s(job=yard["job"]).on_error(tasks.told.s(key=yard["told"]))
    yard.chord([tasks.identity.si(1), tasks.held.si(2, yard["gate"])], body)()
    yard.until_at("gate")
    yard.prepare(lambda: len(yard.in_hand()) == 1 or yard.ours, "the other one to be done")
    with yard.refusing_broker():
        yard.open("gate")
        yard.until(lambda: yard.callbacks("job") or yard.notes("told"), "an end")
    yard.settle()
    assert yard.callbacks("job") == ["[[1, 2]]"]


@scenario(
    ORIGIN,
    "a part kills its process each time: the others are done, it is tried a bounded number of"
    " times, the error callback is called once",
)
def test_part_that_kills_its_process(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    # As often as always, but the pauses between its attempts are shorter.
    soon = replace(submitting._AFTER_DEATHS, retry_backoff=0.1)
    monkeypatch.setattr(submitting, "_AFTER_DEATHS", soon)
    tasks = yard.tasks
    body = tasks.note.s(key=yard["body"]).on_error(tasks.told.s(key=yard["told"]))
    others = [tasks.note.si(n, key=yard["part"]) for n in range(6)]
    yard.chord([tasks.deadly.si(yard["deaths"]), *others], body)()
    yard.until_noted("told", timeout=_LONG)
    yard.settle()
    assert len(yard.notes("told")) == 1
    assert 1 <= len(yard.notes("deaths")) <= _TRIES
    assert sorted(value for (value,) in yard.notes("part")) == list(range(6))
    assert not yard.notes("body")


@scenario(
    ORIGIN,
    "a COMMIT is done but its answer is lost with the connection: the change is there once",
    celery="the part cannot know that it was done, and does it again",
    session=True,
)
def test_unclear_commit(yard: Yard) -> None:
    tasks = yard.tasks
    yard.forget_rows()
    with Proxy(yard.camp.database) as proxy:
        config = yard.camp.with_config(database=proxy.url)
        worker = yard.start_worker(config, queues=[_UNCLEAR])
        ambush = proxy.ambush(Fate.DONE, of=_MARK.encode())
        header = [tasks.row.si(number, mark=_MARK) for number in range(4)]
        chord = yard.chord(header, tasks.called_back.s(job=yard["job"]))
        chord.apply_async(queue=_UNCLEAR)
        yard.prepare(ambush.caught.is_set, "a COMMIT to be cut off")
        yard.until(lambda: yard.callbacks("job"), "the body to be called")
        yard.settle()
        worker.kill_all()
        assert yard.rows() == list(range(4))
        assert yard.callbacks("job") == ["[[0, 1, 2, 3]]"]
