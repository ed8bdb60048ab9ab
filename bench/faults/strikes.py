"""The faults, and how each strikes."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from redis import Redis

if TYPE_CHECKING:
    from bench.faults.trial import Trial

BROKER_SECONDS = 5.0
DOUBLED = 3
_PATIENCE_SECONDS = 5.0


@dataclass(frozen=True)
class Fault:
    """One of them.

    Attributes:
        name: on the command line.
        title: what happens, in tables.
        strike: makes it happen; returns when it did, in seconds since the epoch.
        late: it strikes in the callback, so after all rows are done.
        lost_rows: rows that nobody can process.
        deadly: those rows kill their process.
        at_commit: what the proxy does at a marked COMMIT, if it is needed.
    """

    name: str
    title: str
    strike: Callable[[Trial], float]
    late: bool = False
    lost_rows: int = 0
    deadly: bool = False
    at_commit: Callable[[int], object] | None = None


def nothing(_trial: Trial) -> float:
    return time.time()


def kill_child(trial: Trial) -> float:
    return _kill(hold(trial, "chunk"))


def kill_worker(trial: Trial) -> float:
    trial.worker_of(hold(trial, "chunk")).kill()
    return time.time()


def terminate_worker(trial: Trial) -> float:
    trial.rng.choice(trial.crew.workers).terminate()
    return time.time()


def freeze_worker(trial: Trial) -> float:
    for process in trial.worker_of(hold(trial, "chunk")).family():
        process.send_signal(signal.SIGSTOP)
    return time.time()


def flush_broker(trial: Trial) -> float:
    with Redis.from_url(trial.broker.url) as client:
        client.flushall()
    return time.time()


def stop_broker(trial: Trial) -> float:
    at = time.time()
    trial.broker.stop("immediate")
    trial.tend_for(BROKER_SECONDS)
    trial.broker.start()
    return at


def double_messages(trial: Trial) -> float:
    """Deliver messages again that are in hand, as a lapsed visibility timeout does, or queued."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    with Redis.from_url(trial.broker.url) as client:
        while time.monotonic() < deadline:
            in_hand = [json.dumps(json.loads(one)[0]) for one in client.hvals("unacked")]
            messages = [*in_hand, *client.lrange("celery", -DOUBLED, -1)][:DOUBLED]
            if messages:
                # To the end from which messages are taken, as Kombu does it.
                client.rpush("celery", *messages)
                trial.note = f"{len(messages)} messages"
                return time.time()
    raise RuntimeError("There was no message that could have been doubled.")


def restart_database(trial: Trial) -> float:
    at = time.time()
    trial.postgres.restart("immediate")
    return at


def wait_for_bad_row(trial: Trial) -> float:
    return trial.wait_for_trap("row")[0]


def strike_at_commit(place: str) -> Callable[[Trial], float]:
    def strike(trial: Trial) -> float:
        trial.traps.lay(f"commit-{place}")
        return trial.wait_for_proxy()

    return strike


def kill_callback(trial: Trial) -> float:
    return _kill(hold(trial, "callback"))


def hold(trial: Trial, place: str) -> int:
    """Hold a process in the middle of a chunk or of the callback; return which."""
    trial.traps.lay(f"hold-{place}")
    return trial.wait_for_trap(f"hold-{place}")[1]


def _kill(pid: int) -> float:
    os.kill(pid, signal.SIGKILL)
    return time.time()


def spare(_pid: int) -> None:
    """Only the connection is cut."""


FAULTS = (
    Fault("none", "no fault, for comparison", nothing),
    Fault("child", "`kill -9` one process of a pool in the middle of a chunk", kill_child),
    Fault(
        "worker",
        "`kill -9` a whole worker in the middle of a chunk, a new one 2 s later",
        kill_worker,
    ),
    Fault("sigterm", "SIGTERM to a worker, a new one 2 s after its end", terminate_worker),
    Fault("frozen", "a worker frozen for good (SIGSTOP) in the middle of a chunk", freeze_worker),
    Fault("flushed", "the broker flushed", flush_broker),
    Fault(
        "broker-down", f"the broker down for {BROKER_SECONDS:.0f} s, and back empty", stop_broker
    ),
    Fault("doubled", f"{DOUBLED} messages delivered twice", double_messages),
    Fault("bad-row", "one row always fails", wait_for_bad_row, lost_rows=1),
    Fault("deadly-row", "one row kills its process", wait_for_bad_row, lost_rows=1, deadly=True),
    Fault("database", "PostgreSQL restarted hard", restart_database),
    Fault(
        "answer-lost",
        "the answer to a chunk's COMMIT lost",
        strike_at_commit("chunk"),
        at_commit=spare,
    ),
    Fault(
        "after-commit",
        "`kill -9` the process right after a chunk's COMMIT",
        strike_at_commit("chunk"),
        at_commit=_kill,
    ),
    Fault(
        "in-callback",
        "`kill -9` the process in the middle of the callback",
        kill_callback,
        late=True,
    ),
    Fault(
        "after-callback",
        "`kill -9` the process right after the callback's COMMIT",
        strike_at_commit("callback"),
        late=True,
        at_commit=_kill,
    ),
)
