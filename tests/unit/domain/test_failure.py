from __future__ import annotations

import pytest

from breakbulk.domain.failure import Failure
from breakbulk.errors import KeyChanged


def throw(error: BaseException) -> None:
    raise error


def raised(error: BaseException) -> Failure:
    try:
        throw(error)
    except BaseException as caught:  # noqa: BLE001
        return Failure.of(caught)
    raise AssertionError


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (ValueError("x"), "ValueError"),
        (KeyChanged("x"), "breakbulk.errors.KeyChanged"),
        (SystemExit(3), "SystemExit"),
    ],
)
def test_an_error_is_named_so_that_it_can_be_found(error: BaseException, name: str) -> None:
    assert raised(error).error == name


def test_what_no_database_can_keep_is_made_visible() -> None:
    failure = raised(ValueError("a\x00b\ud800c"))
    assert failure.message == r"a\x00b\ud800c"
    failure.message.encode()


def test_it_is_bounded_and_keeps_both_ends() -> None:
    failure = raised(ValueError("begin" + "x" * 100_000 + "end"))
    assert len(failure.message) < 2_100
    assert failure.message.startswith("begin")
    assert failure.message.endswith("end")
    assert "characters left out" in failure.message
    assert failure.traceback is not None
    assert len(failure.traceback) < 16_100
    assert len(str(failure)) < 250


def test_a_deep_recursion_can_be_written_down() -> None:
    def deeper() -> None:
        deeper()

    try:
        deeper()
    except RecursionError as error:
        failure = Failure.of(error)
    assert failure.error == "RecursionError"
    assert failure.traceback is not None
    assert len(failure.traceback) < 16_100


def test_of_a_deep_call_the_innermost_lines_are_kept() -> None:
    def parse(depth: int) -> int:
        if depth == 0:
            return int("no number")
        # A line of its own for each second call, or they would be folded into one.
        return parse(depth - 1) if depth % 2 else +parse(depth - 1)

    try:
        parse(200)
    except ValueError as error:
        failure = Failure.of(error)
    assert failure.traceback is not None
    assert 'return int("no number")' in failure.traceback
    assert failure.place is not None
    assert failure.place.endswith("in parse")


def test_locals_are_not_kept() -> None:
    def work() -> None:
        token = "hush" + "-hush"
        raise ValueError(len(token))

    try:
        work()
    except ValueError as error:
        failure = Failure.of(error)
    assert failure.traceback is not None
    assert "hush-hush" not in failure.traceback
    assert "in work" in failure.traceback


def test_a_message_that_raises_is_no_second_failure() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise KeyError("no words")

    failure = raised(Mute())
    assert failure.message == "(its message cannot be printed: KeyError)"
    assert failure.error.endswith("Mute")


def test_the_cause_is_told() -> None:
    try:
        try:
            throw(KeyError("first"))
        except KeyError as cause:
            raise ValueError("second") from cause
    except ValueError as error:
        failure = Failure.of(error)
    assert failure.traceback is not None
    assert "KeyError: 'first'" in failure.traceback
    assert str(failure) == "ValueError: second"
