"""Whether a worker has the time to shut down that its chunks need.

On SIGTERM a worker begins nothing, ends the chunk in hand and signs off. Whoever sent the signal
kills it after a while: Kubernetes after ``terminationGracePeriodSeconds``, ECS and Compose after
their stop timeout, systemd after ``TimeoutStopSec``. A chunk that takes longer is rolled back and
done again by another worker: nothing is lost but its time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from breakbulk.domain.finding import Finding, Severity, Subject
from breakbulk.ledger.workers import Worker

#: How many seconds it has, told to each worker by whoever starts it.
GRACE_VARIABLE: Final = "BREAKBULK_GRACE_SECONDS"
#: The same among a worker's settings.
GRACE: Final = "grace_seconds"
#: What a shutdown takes besides the chunk: signing off, and Celery's own farewell.
SIGN_OFF: Final = 5.0
_WHERE = (
    "terminationGracePeriodSeconds (Kubernetes), stopTimeout (ECS), stop_grace_period (Compose) or"
    f" TimeoutStopSec (systemd), and {GRACE_VARIABLE} with it"
)


@dataclass(frozen=True, slots=True)
class Chunks:
    """How long a job's chunks take.

    Attributes:
        timeout: its ``chunk_timeout``, in seconds.
        longest: the longest one of its latest run's last ones; None: none is on record.
    """

    timeout: float | None
    longest: float | None = None


def check_grace(workers: list[Worker], jobs: Mapping[str, Chunks]) -> Iterator[Finding]:
    """Findings about the time that workers have to shut down, each told once."""
    graces = {_number(worker, GRACE) for worker in workers if worker.settings is not None}
    known = {grace for grace in graces if grace is not None}
    if None in graces:
        yield Finding(
            Severity.NOTE,
            Subject.WORKERS,
            "Workers do not know how long they have to shut down, so nobody can tell whether a"
            " chunk fits in.",
            f"Start them with {GRACE_VARIABLE}=… as in {_WHERE.partition(',')[0]}.",
        )
    for grace in sorted(known):
        # A job may run anywhere, so the shortest time counts for all of them.
        yield from _jobs(grace, jobs if grace == min(known) else {})
    told = [_number(worker, "worker_soft_shutdown_timeout") or 0.0 for worker in workers]
    soft = max(told, default=0.0)
    if known and soft and soft + SIGN_OFF > min(known):
        yield Finding(
            Severity.WARNING,
            Subject.SETTINGS,
            f"worker_soft_shutdown_timeout is {soft:g} s, and the worker is killed"
            f" {min(known):g} s after it is told to end: in the middle of its soft shutdown.",
            f"worker_soft_shutdown_timeout = {max(1.0, min(known) - SIGN_OFF):g}, or raise {_WHERE}"
            ".",
        )


def _jobs(grace: float, jobs: Mapping[str, Chunks]) -> Iterator[Finding]:
    begins = f"A worker is killed {grace:g} s after it is told to end, and"
    for name, chunks in sorted(jobs.items()):
        if chunks.longest is not None and chunks.longest + SIGN_OFF > grace:
            yield Finding(
                Severity.WARNING,
                Subject.WORKERS,
                f"{begins} a chunk of {name} took {chunks.longest:.1f} s lately: such a chunk is"
                " rolled back and done again elsewhere, at each deployment and scale-in.",
                f"Make chunks smaller (breakbulk plan {name} shows their size), or raise {_WHERE}"
                f" to {chunks.longest + SIGN_OFF:.0f} or more.",
            )
        elif chunks.timeout is None or chunks.timeout + SIGN_OFF > grace:
            may = "as long as it likes" if chunks.timeout is None else f"{chunks.timeout:g} s"
            yield Finding(
                Severity.NOTE,
                Subject.WORKERS,
                f"{begins} a chunk of {name} may take {may} (chunk_timeout); a longer one than"
                f" {max(0.0, grace - SIGN_OFF):g} s is rolled back and done again elsewhere.",
                f"Set chunk_timeout={max(1.0, grace - SIGN_OFF):g} if none should take longer.",
            )


def _number(worker: Worker, name: str) -> float | None:
    value = (worker.settings or {}).get(name)
    return float(value) if isinstance(value, (int, float)) else None
