"""Signatures become items and come back as they were."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

import celery
import pytest

from breakbulk.domain.items import decode_item, encode_item
from breakbulk.errors import CanvasError
from breakbulk.parts.signatures import item_of, queue_of, steps_of, tasks_of, with_value

if TYPE_CHECKING:
    from celery import Celery

_NOW = datetime(2026, 1, 31, 22, tzinfo=UTC)


@pytest.fixture
def add(app: Celery) -> Any:
    """A task."""

    @app.task(name="team.add")
    def made(x: float, y: float) -> float:
        return x + y

    return made


def item(signature: Any, **options: Any) -> Any:
    """A signature as an item, as it comes back from the ledger."""
    made = item_of(tasks_of(signature), _NOW, **options)
    return decode_item(encode_item(made, 1, 65_536))


def test_a_task_is_small(add: Any) -> None:
    assert item(add.s(1, 2)) == {"task": "team.add", "args": [1, 2]}
    assert item(add.si(1, y=2)) == {
        "task": "team.add",
        "args": [1],
        "kwargs": {"y": 2},
        "immutable": True,
    }


def test_what_celery_s_json_knows_comes_back(add: Any) -> None:
    values = (
        date(2026, 1, 31),
        _NOW,
        Decimal("1.10"),
        UUID(int=7),
        b"\xff\x00",
        {"at": [_NOW, {"of": Decimal(1)}]},
    )
    (step,) = steps_of(item(add.s(*values, y=values[0])))
    assert step.args == values
    assert step.kwargs == {"y": values[0]}


def test_arguments_are_put_in_front_unless_it_is_immutable(add: Any) -> None:
    (step,) = steps_of(item(add.s(2, z=1), args=(1,), kwargs={"z": 3, "w": 4}))
    assert (step.args, step.kwargs) == ((1, 2), {"z": 3, "w": 4})
    (step,) = steps_of(item(add.si(2, z=1), args=(1,), kwargs={"z": 3}))
    assert (step.args, step.kwargs) == ((2,), {"z": 1})
    assert step.given("value") == (2,)


def test_a_chain_is_its_tasks_in_a_row(add: Any) -> None:
    first, second = steps_of(item(add.s(1) | add.s(2), args=(0,)))
    assert first.args == (0, 1)
    assert second.args == (2,)
    assert second.given(1) == (1, 2)
    assert tasks_of(celery.chain()) == []
    nested = celery.chain(add.s(1), celery.chain(add.s(2), add.s(3)))
    assert [step.args for step in steps_of(item(nested))] == [(1,), (2,), (3,)]


def test_a_signature_may_be_a_dictionary(app: Celery, add: Any) -> None:
    assert item(json.loads(json.dumps(add.s(1, 2)))) == item(add.s(1, 2))
    row = json.loads(json.dumps(celery.chain(add.s(1, 1), add.s(2))))
    assert len(tasks_of(row, app)) == 2


def test_options_that_count_are_kept(add: Any) -> None:
    signature = add.s(1, 2).set(
        soft_time_limit=3,
        countdown=10,
        expires=60,
        priority=5,
        headers={"a": "b"},
        serializer="pickle",
    )
    (step,) = steps_of(item(signature))
    assert step.options == {
        "soft_time_limit": 3,
        "eta": _NOW + timedelta(seconds=10),
        "expires": _NOW + timedelta(seconds=60),
        "headers": {"a": "b"},
    }


def test_links_of_a_chain_go_to_its_last_task(add: Any) -> None:
    row = celery.chain(add.s(1, 1), add.s(2))
    row.link(add.s(3))
    row.link_error(add.s(4))
    first, last = steps_of(item(row))
    assert "link" not in first.options
    assert [one["args"] for one in last.listed("link")] == [[3]]
    assert [one["args"] for one in first.listed("link_error")] == [[4]]
    assert [one["args"] for one in last.listed("link_error")] == [[4]]


@pytest.mark.parametrize("what", [3, "team.add", None, [1]])
def test_what_is_no_signature_is_refused(what: Any) -> None:
    with pytest.raises(CanvasError, match="made of Celery signatures"):
        tasks_of(what)


def test_celery_s_groups_and_chords_are_refused(add: Any) -> None:
    for whole in (celery.group(add.s(1, 1), add.s(2, 2)), celery.chord([add.s(1, 1)], add.s(1))):
        with pytest.raises(CanvasError, match="cannot be a part"):
            tasks_of(whole)
        with pytest.raises(CanvasError, match="cannot be a part"):
            tasks_of(add.s(1, 1) | whole)


def test_another_queue_is_refused(add: Any) -> None:
    elsewhere = add.s(1, 2).set(queue="slow")
    assert queue_of(elsewhere) == "slow"
    assert item(elsewhere, queue="slow")["args"] == [1, 2]
    with pytest.raises(CanvasError, match=r"asks for the queue 'slow', but .* goes to 'celery'"):
        item(elsewhere, queue="celery")
    with pytest.raises(CanvasError, match="has the option routing_key"):
        item(add.s(1, 2).set(routing_key="x"), queue="celery")


def test_a_stamp_is_refused(add: Any) -> None:
    signature = add.s(1, 2)
    signature.stamp(customer="x")
    with pytest.raises(CanvasError, match="is stamped"):
        item(signature)


def test_what_is_no_json_is_refused(add: Any) -> None:
    with pytest.raises(CanvasError, match=r"team.add cannot be kept as JSON .*store"):
        item(add.s(object(), 1))
    with pytest.raises(CanvasError, match=r"team.add cannot be kept as JSON \(Out of range"):
        item(add.s(float("nan"), 1))


def test_a_callback_is_sent_with_its_value_and_no_other(app: Celery, add: Any) -> None:
    (text,) = with_value(add.s(2), app, 1)
    sent = json.loads(text)
    assert (sent["args"], sent["immutable"]) == ([1, 2], True)
    (text,) = with_value(add.si(2), app, 1)
    assert json.loads(text)["args"] == [2]
    both = with_value(celery.group(add.s(2), add.s(3)), app, 1)
    assert [json.loads(one)["args"] for one in both] == [[1, 2], [1, 3]]
    (row,) = with_value(celery.chain(add.s(2), add.s(3)), app, 1)
    again: Any = celery.signature(json.loads(row), app=app)
    first, second = again.tasks
    assert (list(first["args"]), first["immutable"]) == ([1, 2], True)
    assert (list(second["args"]), second["immutable"]) == ([3], False)
    (whole,) = with_value(celery.chord([add.s(2), add.si(3)], add.s(4)), app, 1)
    made: Any = celery.signature(json.loads(whole), app=app)
    assert [list(one["args"]) for one in made.tasks] == [[1, 2], [3]]
    assert all(one["immutable"] for one in made.tasks)


def test_each_task_of_a_chain_has_its_error_callbacks(add: Any) -> None:
    row = add.s(1) | add.s(2) | add.s(3)
    row.link_error(add.s("told"))
    steps = steps_of(item(row))
    assert [len(step.listed("link_error")) for step in steps] == [1, 1, 1]
    assert row.tasks[1].options.get("link_error") is None, "and not in the caller's own signature"


def test_a_time_may_be_text(add: Any) -> None:
    (step,) = steps_of(item(add.s(1).set(expires="2026-01-31T22:00:00Z")))
    assert step.options["expires"] == _NOW


def test_only_the_first_task_of_a_chain_may_wait(add: Any) -> None:
    first, _ = steps_of(item(add.s(1).set(countdown=60) | add.s(2)))
    assert first.options["eta"] == _NOW + timedelta(seconds=60)
    with pytest.raises(CanvasError, match="called as soon as the one before it is done"):
        item(add.s(1) | add.s(2).set(countdown=60))


@pytest.mark.parametrize(("name", "value"), [("args", 1), ("args", "ab"), ("kwargs", [1])])
def test_a_signature_that_was_written_by_hand_is_looked_at(name: str, value: Any) -> None:
    written = {"task": "team.add", "args": [1], "kwargs": {}, "options": {}, name: value}
    with pytest.raises(CanvasError, match=f"The {name} of team.add are of type"):
        tasks_of(written)


def test_what_is_linked_is_a_signature(add: Any) -> None:
    for name in ("link", "link_error"):
        with pytest.raises(CanvasError, match="take Celery signatures"):
            item(add.s(1).set(**{name: ["told"]}))


def test_chunks_are_given_as_a_group(add: Any) -> None:
    rows = add.chunks([(1, 2), (3, 4)], 1)
    with pytest.raises(CanvasError, match=r"task\.chunks\(…\)\.group\(\)"):
        tasks_of(rows)
    assert [task.task for part in rows.group().tasks for task in tasks_of(part)] == [
        "celery.starmap"
    ] * 2


@pytest.mark.parametrize("limit", ["soon", True, -1, float("nan"), [3]])
@pytest.mark.parametrize("name", ["time_limit", "soft_time_limit"])
def test_a_limit_that_is_no_number_of_seconds_is_refused(add: Any, name: str, limit: Any) -> None:
    with pytest.raises(CanvasError, match=f"team.add has {name}=.*: give a number of seconds"):
        item(add.s(1, 2).set(**{name: limit}))


def test_a_kind_of_signature_that_celery_does_not_know_is_refused(app: Celery) -> None:
    with pytest.raises(CanvasError, match="subtask_type 'bundle', which Celery does not know"):
        tasks_of({"task": "team.add", "args": (), "subtask_type": "bundle"}, app)


def test_a_later_task_of_a_chain_begins_before_it_could_expire(add: Any) -> None:
    """It was counted from when the canvas was applied, and the first one may take long."""
    first, second = steps_of(item(add.s(1, 1).set(expires=60) | add.s(2).set(expires=60)))
    assert first.options == {"expires": _NOW + timedelta(seconds=60)}
    assert second.options == {}
    at = _NOW + timedelta(hours=1)
    _, second = steps_of(item(add.s(1, 1) | add.s(2).set(expires=at)))
    assert second.options == {"expires": at}
