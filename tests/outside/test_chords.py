"""What Celery's own integration tests demand of a chord: headers, bodies, arguments.

Named after the tests in ``t/integration/test_canvas.py`` of Celery 5.7 whose demands they are;
written anew.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.outside.scenario import scenario

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.outside.yard import Yard

ORIGIN = "Celery's integration tests: header and body"
_LARGE = 1000
_DELAY = 2
#: Seconds that 1,000 parts may take on a busy machine.
_LONG = 600.0


@scenario(ORIGIN, "a part is over before the header's size is known: the body is called")
def test_simple_chord_with_a_delay_in_group_save(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    def header() -> Iterator[Any]:
        for _ in range(2):
            yield yard.tasks.note.si(2, key=yard["part"])
        if yard.ours:
            # Its size is known with the end.
            yard.until_noted("part")

    if not yard.ours:
        # Its size is stored just before the last part is sent.
        backend = yard.app.backend
        store = backend.set_chord_size
        monkeypatch.setattr(
            backend, "set_chord_size", lambda *given: (yard.until_noted("part"), store(*given))
        )
    assert yard.result(yard.chord(header(), yard.tasks.total.s())()) == 4


@scenario(ORIGIN, "the body gets the results in the header's order", sampled=True)
def test_chord_order(yard: Yard) -> None:
    # Those at the front are the last to be done.
    first = [yard.tasks.held.s(number, yard["gate"]) for number in range(2)]
    rest = [yard.tasks.note.si(number, key=yard["rest"]) for number in range(2, 10)]
    handle = yard.chord([*first, *rest], yard.tasks.identity.s())()
    yard.until_noted("rest", 8)
    yard.open("gate")
    assert yard.result(handle) == list(range(10))


@scenario(ORIGIN, "one definition that is applied twice is two runs, and two bodies are called")
def test_reapplying_frozen_chord_dispatches_body_again(yard: Yard) -> None:
    parts = [yard.tasks.identity.si(number) for number in range(3)]
    chord = yard.chord(yard.group(parts), yard.tasks.note.s(key=yard["body"]))
    if hasattr(chord, "freeze"):
        chord.freeze()
    for times in (1, 2):
        chord.apply_async()
        assert yard.until_noted("body", times) == [[[0, 1, 2]]] * times
        # Celery clears up after it has published the body; applied before that it is lost.
        yard.settle()
    assert len(yard.notes("body")) == 2


@scenario(ORIGIN, "`countdown=2` delays the header")
def test_group_or_task_countdown_delays_header(yard: Yard) -> None:
    parts = [yard.tasks.moment.si(key=yard["part"]) for _ in range(2)]
    began = time.time()
    (yard.group(parts) | yard.tasks.moment.si(key=yard["body"])).apply_async(countdown=_DELAY)
    yard.until_noted("body")
    assert min(yard.notes("part")) - began >= _DELAY
    assert yard.notes("body")[0] >= max(yard.notes("part"))


@scenario(ORIGIN, "keyword arguments reach the leading task, every part, and not the body")
def test_group_kwargs(yard: Yard) -> None:
    tasks = yard.tasks
    parts = yard.group(tasks.add.s(number) for number in range(4))
    job = yard.chain(tasks.add.s(2, 2), parts, tasks.add_to_all.s(8))
    assert yard.result(job.apply_async(kwargs={"z": 1})) == [13, 14, 15, 16]


@scenario(ORIGIN, "arguments and keyword arguments reach every part")
def test_group_args_and_kwargs(yard: Yard) -> None:
    tasks = yard.tasks
    job = yard.group(tasks.add.s(number) for number in range(4)) | tasks.add_to_all.s(8)
    assert yard.result(job.apply_async(args=(4,), kwargs={"z": 1})) == [13, 14, 15, 16]


@scenario(ORIGIN, "a header of one gives the body a list of one")
def test_single_task_header(yard: Yard) -> None:
    tasks = yard.tasks
    chord = yard.chord([tasks.add.s(2, 5)], tasks.add_to_all.s(9))
    assert yard.result(chord()) == [16]
    piped = yard.group([tasks.add.s(2, 5)]) | tasks.add_to_all.s(9)
    assert yard.result(piped()) == [16]


@scenario(ORIGIN, "an empty header: the body is called with an empty list", sampled=True)
def test_empty_header_chord(yard: Yard) -> None:
    assert yard.result(yard.chord([], yard.tasks.add_to_all.s(9))()) == []
    piped = yard.group([]) | yard.tasks.add_to_all.s(9)
    assert yard.result(piped()) == []


@scenario(ORIGIN, "two at once do not mix")
def test_parallel_chords(yard: Yard) -> None:
    tasks = yard.tasks
    chords = [
        yard.chord([tasks.identity.si(number) for number in range(5)], tasks.total.s())
        for _ in range(2)
    ]
    handles = [chord.apply_async() for chord in chords]
    assert [yard.result(handle) for handle in handles] == [10, 10]


@scenario(ORIGIN, "1,000 parts")
def test_large_header(yard: Yard) -> None:
    tasks = yard.tasks
    header = (tasks.identity.si(number) for number in range(_LARGE))
    yard.chord(header, tasks.note.s(key=yard["body"]))()
    ((given,),) = yard.until_noted("body", timeout=_LONG)
    assert sum(given) == 499_500


@scenario(ORIGIN, "1,000 parts, each with the value of the task before the group")
def test_chain_to_a_chord_with_large_header(yard: Yard) -> None:
    tasks = yard.tasks
    header = yard.group(tasks.identity.s() for _ in range(_LARGE))
    yard.chain(tasks.identity.si(1), header, tasks.note.s(key=yard["body"])).delay()
    ((given,),) = yard.until_noted("body", timeout=_LONG)
    assert sum(given) == _LARGE


@pytest.mark.parametrize(
    "size", [3, *(pytest.param(size, marks=pytest.mark.thorough) for size in range(4, 9)), 9]
)
@scenario(ORIGIN, "a header that is a generator: its first part runs before the last is yielded")
def test_generator(yard: Yard, size: int) -> None:
    def header() -> Iterator[Any]:
        for number in range(size):
            if number == size - 1:
                yard.until_noted("part")
            yield yard.tasks.note.si(number, key=yard["part"])

    handle = yard.chord(header(), yard.tasks.total.s())()
    assert yard.result(handle) == size * (size - 1) // 2


@scenario(ORIGIN, "a follow-on is called after the body, each of them once")
def test_link_option_runs_after_the_body(yard: Yard) -> None:
    tasks = yard.tasks
    chord = yard.chord([tasks.identity.si(1), tasks.identity.si(2)], tasks.total.s())
    chord.apply_async(link=tasks.note.s(key=yard["link"]))
    assert yard.until_noted("link") == [[3]]
    yard.settle()
    assert len(yard.notes("link")) == 1


@scenario(ORIGIN, "parts that are chains of nothing hold nobody up")
def test_chord_header_with_empty_chains(yard: Yard) -> None:
    tasks = yard.tasks
    header = [yard.chain(), tasks.identity.si(1), yard.chain(), tasks.identity.si(2)]
    yard.chord(yard.group(header), tasks.note.s(key=yard["body"]))()
    ((given,),) = yard.until_noted("body")
    assert [one for one in given if one is not None] == [1, 2]


@scenario(ORIGIN, "a part that comes to terms with its soft time limit counts as done")
def test_chord_soft_timeout_recuperation(yard: Yard) -> None:
    tasks = yard.tasks
    guarded = tasks.patient.s(10).set(soft_time_limit=1)
    assert yard.result(yard.chord([tasks.add.s(1, 2), guarded], tasks.total.s())()) == 3


@scenario(ORIGIN, "the task before a group is delivered twice: the parts keep their ids")
def test_chord_header_id_duplicated_on_rabbitmq_msg_duplication(yard: Yard) -> None:
    tasks = yard.tasks
    parts = yard.group([tasks.identified.s(key=yard["ids"]) for _ in range(2)])
    yard.chain(tasks.held.si(42, yard["gate"]), parts, tasks.note.s(key=yard["body"])).delay()
    yard.until_at("gate")
    messages = yard.in_hand()
    yard.open("gate")
    yard.until_noted("body")
    yard.settle()
    before = {tuple(ids) for ids in yard.notes("ids")}
    yard.redeliver(messages)
    if not yard.ours:
        # Whatever the copy starts is started: of Breakbulk it starts nothing.
        yard.prepare(lambda: len(yard.notes("ids")) == 4, "the parts to run again")
    yard.settle()
    assert len(before) == 2
    assert {tuple(ids) for ids in yard.notes("ids")} == before
