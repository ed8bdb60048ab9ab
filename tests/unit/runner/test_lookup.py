"""Look-ups of names: within a time, and without threads that pile up."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from breakbulk.runner.lookup import LookUps, resolve
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator


class Hanging:
    """A resolver that says nothing until it is told to."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.go_on = threading.Event()

    def __call__(self, host: str, _port: int) -> list[str]:
        self.asked.append(host)
        assert self.go_on.wait(60)
        return ["1.1.1.1"]


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    made = Hanging()
    yield made
    made.go_on.set()


def threads() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name.startswith("breakbulk-lookup-")]


def test_what_the_system_says() -> None:
    assert LookUps().addresses("127.0.0.1", 80, 10) == ["127.0.0.1"]


def test_an_error_is_that_of_who_asked() -> None:
    def fail(_host: str, _port: int) -> list[str]:
        raise UnicodeError("label too long")

    with pytest.raises(UnicodeError, match="label too long"):
        LookUps(fail).addresses("a", 80, 10)


def test_one_that_hangs_is_left_behind(hanging: Hanging) -> None:
    made = LookUps(hanging)
    with pytest.raises(TimeoutError):
        made.addresses("slow.test", 443, 0.01)
    with pytest.raises(TimeoutError):
        made.addresses("slow.test", 443, -1)
    assert made.addresses is not None
    assert hanging.asked == ["slow.test"], "one thread, however often it is asked for"
    assert threads() == ["breakbulk-lookup-slow.test"]
    with ThreadPoolExecutor(3) as pool:
        asking = [pool.submit(made.addresses, "slow.test", 443, 60) for _ in range(3)]
        hanging.go_on.set()
        assert [one.result() for one in asking] == [["1.1.1.1"]] * 3
    wait_for(lambda: not threads(), message="the thread to end")
    assert made.addresses("slow.test", 443, 10) == ["1.1.1.1"]


def test_others_are_looked_up_meanwhile_up_to_a_bound(hanging: Hanging) -> None:
    def some(host: str, port: int) -> list[str]:
        return ["2.2.2.2"] if host == "quick.test" else hanging(host, port)

    made = LookUps(some, most=3)
    for number in range(2):
        with pytest.raises(TimeoutError):
            made.addresses(f"slow{number}.test", 443, 0.01)
    assert made.addresses("quick.test", 443, 10) == ["2.2.2.2"]
    for number in range(2, 10):
        with pytest.raises(TimeoutError):
            made.addresses(f"slow{number}.test", 443, 0.01)
    assert len(threads()) == len(hanging.asked) == 3
    with pytest.raises(TimeoutError):
        made.addresses("quick.test", 443, 10)


def test_a_child_does_not_wait_for_threads_of_its_parent(hanging: Hanging) -> None:
    from breakbulk.runner.lookup import look_ups

    look_ups._resolve = hanging
    try:
        with pytest.raises(TimeoutError):
            look_ups.addresses("slow.test", 443, 0.01)
        child = os.fork()
        if child == 0:
            look_ups._resolve = lambda _host, _port: ["3.3.3.3"]
            os._exit(0 if look_ups.addresses("slow.test", 443, 10) == ["3.3.3.3"] else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        look_ups._resolve = resolve
