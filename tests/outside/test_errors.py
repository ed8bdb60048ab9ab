"""What Celery's own integration tests demand of a chord: failures and error callbacks.

Named after the tests in ``t/integration/test_canvas.py`` of Celery 5.7 whose demands they are;
written anew. Where those wait ten seconds to see that nothing comes, these wait until there is
nothing left that could.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.outside.scenario import scenario

if TYPE_CHECKING:
    from tests.outside.yard import Yard

ORIGIN = "Celery's integration tests: failures and error callbacks"
KINDS = ("told_of", "told")
#: Mixes of parts: an x fails.
MIXES = (
    *("x", "x.", "x.x.x"),
    *(pytest.param(one, marks=pytest.mark.thorough) for one in ("xxx", "x..", "x.x", "x.x.")),
)

# Celery warns that the default of `task_allow_error_cb_on_chord_header` will change.
pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")


def _told(yard: Yard, kind: str) -> Any:
    return getattr(yard.tasks, kind).s(key=yard["told"])


def _mix(yard: Yard, mix: str) -> list[Any]:
    return [yard.tasks.fail.si() if one == "x" else yard.tasks.identity.si(42) for one in mix]


def _fails_and_tells_once(yard: Yard, chord: Any) -> None:
    handle = chord.delay()
    assert "Unwell" in yard.failure(handle)
    yard.until_noted("told")
    yard.settle()
    assert len(yard.notes("told")) == 1
    assert not yard.notes("body")


@scenario(
    ORIGIN,
    "1 of 3 parts fails: the body is not called, the error callback is, and what the others gave"
    " can be read",
)
def test_chord_on_error(yard: Yard) -> None:
    tasks = yard.tasks
    body = tasks.note.s(key=yard["body"]).on_error(_told(yard, "told_of"))
    handle = yard.chord([tasks.add.s(1, 2), tasks.add.s(3, 4), tasks.fail.s()], body)()
    assert "Unwell" in yard.failure(handle)
    yard.until_noted("told")
    yard.settle()
    assert not yard.notes("body")
    assert yard.successes(handle) == [3, 7]


@scenario(ORIGIN, "whoever waits is told of the failure, of a part and of the body")
def test_error_propagates_to_chord_from_simple(yard: Yard) -> None:
    tasks = yard.tasks
    assert "Unwell" in yard.failure(yard.chord([tasks.fail.s()], tasks.identity.s()).delay())
    assert "Unwell" in yard.failure(yard.chord([tasks.identity.si(42)], tasks.fail.s()).delay())


@scenario(ORIGIN, "the same of a header that is a group")
def test_error_propagates_to_chord_from_group(yard: Yard) -> None:
    tasks = yard.tasks
    header = yard.group(tasks.identity.si(42), tasks.fail.s())
    assert "Unwell" in yard.failure(yard.chord(header, tasks.identity.s()).delay())


@scenario(ORIGIN, "an immutable error callback is called when a part, and when the body fails")
def test_immutable_errback_called_by_chord_from_simple(yard: Yard) -> None:
    _errback_from_simple(yard, yard.tasks.note.si("told", key=yard["told"]))


@pytest.mark.parametrize("kind", KINDS)
@scenario(ORIGIN, "the same of one that is given what failed, of the old kind and of the new one")
def test_mutable_errback_called_by_chord_from_simple(yard: Yard, kind: str) -> None:
    _errback_from_simple(yard, _told(yard, kind))


def _errback_from_simple(yard: Yard, errback: Any) -> None:
    tasks = yard.tasks
    for times, (part, body) in enumerate(
        ((tasks.fail.s(), tasks.identity.s()), (tasks.identity.si(42), tasks.fail.s())), 1
    ):
        chord = yard.chord([part], body)
        chord.link_error(errback)
        assert "Unwell" in yard.failure(chord.delay())
        yard.until_noted("told", times)
        yard.settle()
        assert len(yard.notes("told")) == times


@scenario(ORIGIN, "an immutable error callback is called when a part of a group fails")
def test_immutable_errback_called_by_chord_from_group(yard: Yard) -> None:
    _errback_from_group(yard, yard.tasks.note.si("told", key=yard["told"]), "x.")


@pytest.mark.parametrize("kind", KINDS)
@scenario(ORIGIN, "the same of one that is given what failed, of the old kind and of the new one")
def test_mutable_errback_called_by_chord_from_group(yard: Yard, kind: str) -> None:
    _errback_from_group(yard, _told(yard, kind), "x.")


@scenario(
    ORIGIN, "24 parts succeed and 42 fail: the error callback is called exactly once", sampled=True
)
def test_immutable_errback_called_by_chord_from_group_fail_multiple(yard: Yard) -> None:
    errback = yard.tasks.note.si("told", key=yard["told"])
    _errback_from_group(yard, errback, "." * 24 + "x" * 42)


@pytest.mark.parametrize("kind", KINDS)
@scenario(ORIGIN, "8 parts succeed and 42 fail: once, too, of the old kind and of the new one")
def test_mutable_errback_called_by_chord_from_group_fail_multiple_on_header_failure(
    yard: Yard, kind: str
) -> None:
    _errback_from_group(yard, _told(yard, kind), "." * 8 + "x" * 42)


def _errback_from_group(yard: Yard, errback: Any, mix: str) -> None:
    chord = yard.chord(yard.group(_mix(yard, mix)), yard.tasks.note.s(key=yard["body"]))
    chord.link_error(errback)
    _fails_and_tells_once(yard, chord)


@pytest.mark.parametrize("mix", MIXES)
@scenario(
    ORIGIN,
    "with `task_allow_error_cb_on_chord_header`, parts with error callbacks of their own: each"
    " is called once for its part, the body's once, the body never",
)
def test_enabling_flag_allow_error_cb_on_chord_header(yard: Yard, mix: str) -> None:
    with yard.setting("task_allow_error_cb_on_chord_header", value=True):
        parts = _mix(yard, mix)
        for part in parts:
            part.link_error(yard.tasks.note.si("part", key=yard["part"]))
        body = yard.tasks.note.si("body", key=yard["body"])
        body.link_error(yard.tasks.note.si("told", key=yard["told"]))
        _fails_and_tells_once(yard, yard.chord(parts, body))
        assert len(yard.notes("part")) == mix.count("x")


@pytest.mark.parametrize("mix", MIXES)
@scenario(ORIGIN, "without it: the error callback of the whole is called once, the body never")
def test_disabling_flag_allow_error_cb_on_chord_header(yard: Yard, mix: str) -> None:
    with yard.setting("task_allow_error_cb_on_chord_header", value=False):
        chord = yard.chord(_mix(yard, mix), yard.tasks.note.si("body", key=yard["body"]))
        chord.link_error(yard.tasks.note.si("told", key=yard["told"]))
        _fails_and_tells_once(yard, chord)


@scenario(ORIGIN, "the body fails: the error callback that was given as an option is called once")
def test_link_error_option_runs_on_body_failure(yard: Yard) -> None:
    tasks = yard.tasks
    chord = yard.chord([tasks.identity.si(1), tasks.identity.si(2)], tasks.fail.s())
    _told_once(yard, chord)


@scenario(ORIGIN, "a part fails: the error callback that was given as an option is called once")
def test_link_error_option_runs_on_header_failure(yard: Yard) -> None:
    tasks = yard.tasks
    chord = yard.chord([tasks.identity.si(1), tasks.fail.si()], tasks.note.s(key=yard["body"]))
    _told_once(yard, chord)
    assert not yard.notes("body")


def _told_once(yard: Yard, chord: Any) -> None:
    handle = chord.apply_async(link_error=yard.tasks.note.si("told", key=yard["told"]))
    assert "Unwell" in yard.failure(handle)
    yard.until_noted("told")
    yard.settle()
    assert len(yard.notes("told")) == 1
