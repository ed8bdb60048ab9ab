"""What can be combined, and what is refused where it is built."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import celery
import pytest

from breakbulk.canvas import chain, chord, group
from breakbulk.errors import CanvasError, ConfigurationError

if TYPE_CHECKING:
    from celery import Celery


@pytest.fixture
def add(app: Celery) -> Any:
    """A task."""

    @app.task(name="team.add")
    def made(x: float, y: float) -> float:
        return x + y

    return made


def shape(canvas: Any) -> tuple[list[Any], list[Any], list[Any]]:
    """First arguments of what leads, of the parts, and of what follows."""
    rows = (canvas.leading, canvas.tasks, canvas.following)
    leading, parts, following = ([task.args[0] for task in row] for row in rows)
    return leading, parts, following


def test_a_group_is_made_as_in_celery(add: Any) -> None:
    tasks = [add.s(1), add.s(2)]
    for made in (group(tasks), group(*tasks), group(tuple(tasks)), group(group(tasks))):
        assert shape(made) == ([], [1, 2], [])
    assert shape(group(add.s(1))) == ([], [1], [])
    assert shape(group(celery.group(tasks))) == ([], [1, 2], []), "somebody else has built it"
    assert shape(chord(celery.group(tasks), add.s(3))) == ([], [1, 2], [3])
    assert shape(group([])) == ([], [], [])
    lazy = group(add.s(n) for n in range(3))
    assert [task.args[0] for task in lazy.tasks] == [0, 1, 2]


def test_all_ways_to_a_chord(add: Any) -> None:
    header = group(add.s(1), add.s(2))
    expected: Any = ([], [1, 2], [3])
    for made in (
        header | add.s(3),
        chord(header, add.s(3)),
        chord([add.s(1), add.s(2)], add.s(3)),
        chain(header, add.s(3)),
        chain([header, add.s(3)]),
        chord(chord(header), add.s(3)),
    ):
        assert shape(made) == expected
    assert chord(header, add.s(3)).body.args == (3,)  # type: ignore[union-attr]
    assert chord(header).body is None


def test_what_comes_behind_the_body_is_linked_to_it(add: Any) -> None:
    header = group(add.s(1))
    for made in (
        header | add.s(2) | add.s(3),
        chain(header, add.s(2), add.s(3)),
        header | celery.chain(add.s(2), add.s(3)),
        chord(header, celery.chain(add.s(2), add.s(3))),
        chord(header, add.s(2)) | add.s(3),
    ):
        assert shape(made) == ([], [1], [2, 3])


def test_what_comes_in_front_leads(add: Any) -> None:
    header = group(add.s(1))
    for made in (
        add.s(0) | header | add.s(2),
        chain(add.s(0), header, add.s(2)),
        chain(add.s(0), header) | add.s(2),
        chain(add.s(0), chord(header, add.s(2))),
        add.s(0) | chord(header, add.s(2)),
    ):
        assert shape(made) == ([0], [1], [2])
        assert isinstance(made, chain)
    row = celery.chain(add.s(8), add.s(9))
    assert shape(row | header) == ([8, 9], [1], [])
    assert shape(chain(add.s(8), add.s(9), header)) == ([8, 9], [1], [])


def test_a_chain_without_a_group_is_celery_s_own(add: Any) -> None:
    row: Any = chain(add.s(1, 1), add.s(2))
    own: Any = chain
    assert type(row) is type(celery.chain(add.s(1, 1), add.s(2)))
    assert not isinstance(row, own)


def test_a_chain_takes_a_group_or_chord_of_celery_s_as_ours(add: Any) -> None:
    """An import that was forgotten is not a chord without a ledger."""
    for made in (
        chain(celery.group(add.s(1), add.s(2)), add.s(3)),
        chain([celery.group([add.s(1), add.s(2)]), add.s(3)]),
        chain(iter([celery.group([add.s(1), add.s(2)]), add.s(3)])),
        chain(celery.chord([add.s(1), add.s(2)], add.s(3))),
        chain(celery.group(add.s(1), add.s(2)) | add.s(3)),
        chain(dict(celery.group(add.s(1), add.s(2)) | add.s(3))),
    ):
        assert isinstance(made, chain)
        assert shape(made) == ([], [1, 2], [3])
    for made in (
        chain(add.s(0), celery.group(add.s(1), add.s(2)), add.s(3)),
        chain(add.s(0), celery.chord([add.s(1), add.s(2)], add.s(3))),
        chain(celery.chain(add.s(0), celery.group(add.s(1), add.s(2))), add.s(3)),
    ):
        assert isinstance(made, chain)
        assert shape(made) == ([0], [1, 2], [3])
    lazy = chain(celery.group(add.s(n) for n in range(3)), add.s(3))
    assert shape(lazy) == ([], [0, 1, 2], [3])


def test_what_was_set_on_a_group_of_celery_s_is_not_lost(add: Any) -> None:
    given = celery.group(add.s(1), add.s(2)).set(priority=3)
    with pytest.raises(CanvasError, match="takes no priority="):
        chain(given, add.s(3)).apply_async()


@pytest.mark.parametrize(
    "build",
    [
        lambda add: group(add.s(1)) | celery.group(add.s(2), add.s(3)),
        lambda add: group(add.s(1)) | celery.chord([add.s(2), add.s(3)], add.s(4)),
        lambda add: celery.chord([add.s(2), add.s(3)], add.s(4)) | group(add.s(1)),
        lambda add: chain(celery.chord([add.s(1)], add.s(2)), celery.chord([add.s(3)], add.s(4))),
        lambda add: chord([celery.group(add.s(1), add.s(2)), add.s(3)], add.s(4)),
        lambda add: chord([celery.chord([add.s(1)], add.s(2))], add.s(4)),
        lambda add: chord([add.s(1)], celery.chord([add.s(2)], add.s(3))),
        lambda add: chord(celery.chord([add.s(1)], add.s(2)), add.s(3)),
    ],
)
def test_where_a_group_of_celery_s_cannot_be_it_is_refused(add: Any, build: Any) -> None:
    with pytest.raises(CanvasError):
        build(add)


def test_the_policy_is_kept(add: Any) -> None:
    header = group([add.s(1)], on_failure="isolate")
    for made in (header, group(header), header | add.s(2), chain(add.s(0), header)):
        assert made.on_failure == "isolate"
    assert chord([add.s(1)], add.s(2), on_failure="stop").on_failure == "stop"
    with pytest.raises(CanvasError, match="must be None, 'isolate', 'skip' or 'stop'"):
        group([add.s(1)], on_failure="ignore")


@pytest.mark.parametrize(
    "build",
    [
        lambda add: group(group(add.s(1)), add.s(2)),
        lambda add: group([add.s(1), chord([add.s(1)], add.s(2))]),
        lambda add: group([celery.group(add.s(1), add.s(2)), add.s(3)]),
        lambda add: chord([add.s(1)], group(add.s(2))),
        lambda add: chord([add.s(1)], celery.group(add.s(2), add.s(3))),
        lambda add: chord(chord([add.s(1)], add.s(2)), add.s(3)),
        lambda add: chain(group(add.s(1)), group(add.s(2))),
        lambda add: group(add.s(1)) | group(add.s(2)),
        lambda add: group(add.s(1)) | chord([add.s(2)], add.s(3)),
        lambda add: chain(celery.group(add.s(1), add.s(2)), group(add.s(2))),
    ],
)
def test_nesting_is_refused_where_it_is_built(add: Any, build: Any) -> None:
    with pytest.raises(CanvasError, match="let a task start a canvas of"):
        build(add)


@pytest.mark.parametrize("what", [3, "team.add", {"a": 1}, [3], ["x"], None])
def test_what_is_no_signature_is_refused(what: Any) -> None:
    with pytest.raises(CanvasError, match="made of Celery signatures"):
        group(what)


def test_a_stamp_is_refused(add: Any) -> None:
    with pytest.raises(CanvasError, match="none to be stamped"):
        group(add.s(1)).stamp(customer=1)


def test_a_group_has_nothing_to_link_to(add: Any) -> None:
    with pytest.raises(CanvasError, match="use a chord"):
        group(add.s(1)).link(add.s(2))
    with pytest.raises(CanvasError, match="use a chord"):
        group(add.s(1)).apply_async(link=add.s(2))


def test_options_that_are_of_messages_are_refused(add: Any) -> None:
    with pytest.raises(CanvasError, match=r"takes no priority=: it is about messages"):
        group(add.s(1)).apply_async(priority=3)
    with pytest.raises(CanvasError, match=r"takes no expires=: set it on the parts, as in add"):
        group(add.s(1)).apply_async(expires=3)
    with pytest.raises(CanvasError, match=r"takes no serializer=: it is about messages"):
        group(add.s(1)).set(serializer="json").apply_async()


def test_without_a_ledger_it_says_what_to_write(add: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"'team': write Breakbulk\(database=…, celery="):
        group(add.s(1, 1)).apply_async()


def test_a_list_is_copied(add: Any) -> None:
    tasks = [add.s(1)]
    made = group(tasks)
    tasks.append(add.s(2))
    assert shape(made) == ([], [1], [])


def test_it_has_a_length_where_its_parts_are_known(add: Any) -> None:
    assert len(group(add.s(1), add.s(2))) == len(chord([add.s(1), add.s(2)], add.s(3))) == 2
    assert group([]), "as Celery's: it can be applied"
    with pytest.raises(TypeError, match="a group of a generator has before it is applied"):
        len(group(add.s(n) for n in range(3)))


def test_a_canvas_that_is_made_of_another_one_has_all_that_was_set_there(add: Any) -> None:
    header = group([add.s(1)], queue="slow")
    header.link_error(add.s(9))
    for made in (group(header), chord(header, add.s(2)), header | add.s(2), chord(chord(header))):
        assert (made._options, made._errbacks) == ({"queue": "slow"}, [add.s(9)])
    assert chord(header, add.s(2), queue="quick")._options == {"queue": "quick"}


def test_a_header_may_be_one_task(add: Any) -> None:
    assert shape(chord(add.s(1), add.s(2))) == ([], [1], [2])
    with pytest.raises(CanvasError, match="The header of a chord is a chain: put it into a list"):
        chord(celery.chain(add.s(1), add.s(2)), add.s(3))


def test_a_generator_is_read_once_whatever_is_made_of_it(add: Any) -> None:
    lazy = group(add.s(n) for n in range(3))
    body = lazy | add.s(9)
    assert [task.args[0] for task in body.tasks] == [0, 1, 2]
    with pytest.raises(CanvasError, match="can be read only once"):
        iter(lazy.tasks)


def test_it_is_no_signature(add: Any) -> None:
    ours: Any = group(add.s(1))
    told = "is no signature of Celery's: import all of group, chord and chain from breakbulk.canvas"
    with pytest.raises(TypeError, match=told):
        repr(celery.group([add.s(1)]) | ours)
    with pytest.raises(AttributeError, match="if it is Celery that asks, import all of group"):
        (celery.group([add.s(1)]) | ours).apply_async()
    with pytest.raises(AttributeError, match=told):
        celery.group([ours]).apply_async()
    with pytest.raises(AttributeError, match=told):
        _ = ours.options


def test_celery_s_own_take_ours_in_a_row(add: Any) -> None:
    ours: Any = group(add.s(1), add.s(2))
    theirs: Any = celery.chain
    for made in (theirs(ours, add.s(3)), theirs([ours, add.s(3)])):
        assert isinstance(made, chord)
        assert shape(made) == ([], [1, 2], [3])
    led = theirs([add.s(0), ours, add.s(3)])
    assert isinstance(led, chain)
    assert shape(led) == ([0], [1, 2], [3])


@pytest.mark.parametrize(
    "build",
    [
        lambda add, ours: celery.chord([ours, add.s(3)], add.s(4)),
        lambda add, ours: celery.chord([add.s(3), ours | add.s(4)], add.s(4)),
        lambda add, ours: celery.chord((add.s(0) | ours,), add.s(4)),
        lambda add, ours: celery.chain(add.s(0), celery.chord([ours], add.s(4))),
    ],
)
def test_a_chord_of_celery_s_with_ours_in_its_list_is_refused_where_it_is_built(
    add: Any, build: Any
) -> None:
    """It took ours for the name of a task, and failed where it was applied."""
    told = "is no signature of Celery's: import all of group, chord and chain from breakbulk.canvas"
    with pytest.raises(CanvasError, match=told):
        build(add, group(add.s(1), add.s(2)))


@pytest.mark.parametrize(
    "build",
    [
        lambda add, theirs: group([theirs, add.s(3)]),
        lambda add, theirs: chord([add.s(3), theirs], add.s(4)),
        lambda add, theirs: chain(add.s(0), group([theirs, add.s(3)]), add.s(4)),
        lambda add, theirs: chord([celery.chain(add.s(3), theirs)], add.s(4)),
    ],
)
def test_ours_with_a_group_of_celery_s_in_its_list_says_where_its_tasks_belong(
    add: Any, build: Any
) -> None:
    told = "A group cannot be a part or the body of a canvas: put its tasks into the one group"
    with pytest.raises(CanvasError, match=told):
        build(add, celery.group(add.s(1), add.s(2)))


def test_what_is_not_there_says_what_is(add: Any) -> None:
    made: Any = group(add.s(1))
    with pytest.raises(AttributeError, match=r"has no apply\(\): set task_always_eager"):
        made.apply()
    with pytest.raises(AttributeError, match=r"A chord of Breakbulk's has no 'colour'\."):
        _ = (made | add.s(2)).colour
    assert not hasattr(made, "skew")
    assert shape(copy.copy(made)) == shape(made)


def test_options_of_celery_s_own_canvases_are_taken_or_refused(app: Celery, add: Any) -> None:
    assert shape(group([add.s(1)], app=app)) == ([], [1], [])
    assert shape(chord([add.s(1)], add.s(2), app=app, queue="slow")) == ([], [1], [2])
    with pytest.raises(CanvasError, match="takes no task_id="):
        chord([add.s(1)], add.s(2), task_id="mine")
    with pytest.raises(CanvasError, match="takes no interval="):
        group(add.s(1), interval=1)


def test_a_stamped_part_of_a_list_is_refused_where_it_is_built(add: Any) -> None:
    part = add.s(1)
    part.stamp(customer=7)
    with pytest.raises(CanvasError, match="is stamped"):
        group([part])
