"""Signals end the demo once, and never in the middle of what must come to its end."""

from __future__ import annotations

import os
import signal

import pytest

from breakbulk.demo.interrupts import Interrupts, Stopped


def send(number: int) -> None:
    os.kill(os.getpid(), number)
    signal.sigpending()  # a bytecode boundary, at which Python calls the handler


@pytest.mark.parametrize(
    ("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_stops(number: int, exit_code: int) -> None:
    with Interrupts(), pytest.raises(Stopped) as stopped:
        send(number)
    assert stopped.value.exit_code == exit_code


def test_only_the_first_signal_stops() -> None:
    with Interrupts():
        with pytest.raises(Stopped):
            send(signal.SIGTERM)
        send(signal.SIGINT)
        send(signal.SIGTERM)


def test_what_is_begun_comes_to_its_end() -> None:
    steps: list[str] = []

    def start() -> None:
        with interrupts.deferred():
            send(signal.SIGTERM)
            send(signal.SIGINT)
            steps.append("started")
            steps.append("remembered")

    with Interrupts() as interrupts, pytest.raises(Stopped) as stopped:
        start()
    assert steps == ["started", "remembered"]
    assert stopped.value.number == signal.SIGTERM


def test_a_failure_that_the_signal_caused_is_none() -> None:
    # A Ctrl-C reaches every program of the terminal, such as the one that makes the cluster.
    def make_cluster() -> None:
        with interrupts.deferred():
            send(signal.SIGINT)
            message = "initdb ended with SIGINT"
            raise RuntimeError(message)

    with Interrupts() as interrupts, pytest.raises(Stopped):
        make_cluster()


def test_nothing_disturbs_the_clearing_up() -> None:
    with Interrupts() as interrupts:
        interrupts.ignore()
        send(signal.SIGINT)
        with interrupts.deferred():
            send(signal.SIGTERM)


def test_handlers_are_put_back() -> None:
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    with Interrupts():
        assert signal.getsignal(signal.SIGINT) is not before[0]
    assert before == [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]


def test_nohup_is_respected() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupts():
            send(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
