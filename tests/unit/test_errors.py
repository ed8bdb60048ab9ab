from __future__ import annotations

import inspect
import pickle

import pytest

from breakbulk import errors
from breakbulk.errors import BreakbulkError, CancelRun, Snooze

EVERY = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, BreakbulkError)
]


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    assert errors.__doc__ is not None
    tree = errors.__doc__.partition("::")[2].partition("Control flow")[0]
    drawn = [line for line in tree.splitlines() if line.strip()]
    for kind in EVERY:
        if kind is BreakbulkError:
            continue
        depth = kind.__mro__.index(BreakbulkError)
        lines = [line for line in drawn if f"── {kind.__name__} " in line]
        assert len(lines) == 1, f"{kind.__name__} is drawn {len(lines)} times"
        assert lines[0].index("──") // 4 == depth, f"{kind.__name__} hangs at the wrong place"
    assert len(drawn) == len(EVERY)


@pytest.mark.parametrize("kind", EVERY)
def test_every_error_says_what_it_is_and_how_to_exit(kind: type[BreakbulkError]) -> None:
    assert kind.__doc__
    assert kind.exit_code in {1, 2, 6, 7}


@pytest.mark.parametrize("kind", [*EVERY, Snooze, CancelRun])
def test_errors_survive_the_way_between_processes(kind: type[Exception]) -> None:
    """Celery pickles what a task raises; what cannot be pickled kills the pool's child."""
    given: list[object] = ["words"]
    parameters = inspect.signature(kind.__init__).parameters
    if kind is Snooze:
        given = [5.0]
    elif "status" in parameters:
        given.append("failed")
    elif "run_id" in parameters:
        given.append(7)
    error = kind(*given)
    again = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert type(again) is kind
    assert str(again) == str(error)
    assert vars(again) == vars(error)


@pytest.mark.parametrize("seconds", [-1, float("nan"), -0.001])
def test_a_snooze_is_never_in_the_past(seconds: float) -> None:
    with pytest.raises(ValueError, match="from 0 up"):
        Snooze(seconds)


def test_a_snooze_ends() -> None:
    with pytest.raises(ValueError, match="from 0 up"):
        Snooze(float("inf"))
