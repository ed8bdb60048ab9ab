"""What the tests of Celery's Redis backend demand when messages come more than once, and retries.

Named after the cases in ``t/unit/backends/test_redis.py`` and ``t/unit/tasks/test_chord.py`` of
Celery 5.7 as far as they mean something without a backend; written anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.outside.scenario import scenario

if TYPE_CHECKING:
    from tests.outside.yard import Yard

ORIGIN = "Celery's tests of its Redis backend: duplicates and retries"


@scenario(
    ORIGIN,
    "a part is run again after it has succeeded and gives another value: the first one stands",
)
def test_duplicate_part(yard: Yard) -> None:
    tasks = yard.tasks
    header = [tasks.drawn.si(yard["draw"], yard["draws"]), tasks.held.si("held", yard["gate"])]
    yard.chord(header, tasks.note.s(key=yard["body"]))()
    yard.until_at("draw1")
    yard.until_at("gate")
    messages = yard.in_hand()
    yard.open("draw1")
    # Of Breakbulk no message is a part's.
    yard.prepare(lambda: yard.ours or len(yard.in_hand()) == 1, "the part to be done")
    yard.open("draw2")
    yard.redeliver(messages)
    if not yard.ours:
        yard.until_at("draw2")
    yard.open("gate")
    yard.until_noted("body")
    yard.settle()
    assert yard.notes("body") == [[[1, "held"]]]


@scenario(ORIGIN, "the last part comes again when all is over: the body is not called again")
def test_last_part_runs_again(yard: Yard) -> None:
    tasks = yard.tasks
    header = [tasks.identity.si(1), tasks.held.si(2, yard["gate"])]
    yard.chord(header, tasks.note.s(key=yard["body"]))()
    yard.until_at("gate")
    messages = yard.in_hand()
    yard.open("gate")
    yard.until_noted("body")
    yard.settle()
    yard.redeliver(messages)
    yard.settle()
    assert yard.notes("body") == [[[1, 2]]]


@scenario(ORIGIN, "a part that waits for its retry is not done: the body waits for it")
def test_body_waits_for_retries(yard: Yard) -> None:
    tasks = yard.tasks
    header = [tasks.identity.si(1), tasks.retried.si(2, yard["tries"], times=2)]
    yard.chord(header, tasks.note.s(key=yard["body"]))()
    assert yard.until_noted("body") == [[[1, 2]]]
    assert yard.notes("tries") == [0, 1, 2]


@scenario(ORIGIN, "retries run out: the body is not called, the error callback is, once")
def test_retries_exhausted_fails_chord(yard: Yard) -> None:
    tasks = yard.tasks
    header = [tasks.identity.si(1), tasks.retried.si(2, yard["tries"], times=100)]
    body = tasks.note.s(key=yard["body"]).on_error(tasks.told.s(key=yard["told"]))
    handle = yard.chord(header, body)()
    assert "Unwell" in yard.failure(handle)
    yard.until_noted("told")
    yard.settle()
    assert yard.notes("tries") == [0, 1, 2, 3, 4, 5]
    assert len(yard.notes("told")) == 1
    assert not yard.notes("body")


@scenario(ORIGIN, "the body is retried and called once more: what follows it comes once")
def test_body_is_retried(yard: Yard) -> None:
    tasks = yard.tasks
    body = tasks.retried.s(key=yard["tries"], times=2)
    body.link(tasks.note.s(key=yard["link"]))
    yard.chord([tasks.identity.si(1), tasks.identity.si(2)], body)()
    assert yard.until_noted("link") == [[[1, 2]]]
    yard.settle()
    assert yard.notes("tries") == [0, 1, 2]
    assert len(yard.notes("link")) == 1
