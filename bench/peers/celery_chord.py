"""A Celery chord on Redis: one message a chunk, a result backend, a callback."""

from __future__ import annotations

from collections.abc import Sequence

from celery import Celery, chord

from bench.chord import THROUGHPUT
from bench.peers import work
from bench.peers.peer import WORKERS, About

SETTINGS = {
    **THROUGHPUT,
    # "You should set to False if you do not use results": here only their number counts.
    # https://docs.celeryq.dev/en/stable/userguide/configuration.html#result-chord-ordered
    "result_backend_transport_options": {"result_chord_ordered": False},
}
ABOUT = About(
    title="Celery chord",
    packages=("celery", "kombu", "billiard", "redis"),
    settings=SETTINGS,
    why=(
        "worker_prefetch_multiplier: https://docs.celeryq.dev/en/stable/userguide/optimizing.html",
        "task_acks_late: https://docs.celeryq.dev/en/stable/userguide/tasks.html",
        (
            "result_chord_ordered:"
            " https://docs.celeryq.dev/en/stable/userguide/configuration.html#result-backend-transport-options"
        ),
    ),
    end="its body writes the time",
    durable="tasks may run twice; a lost message leaves the chord without its body",
)

app = Celery("peers", broker=work.broker(), backend=work.broker())
app.conf.update(task_default_queue="peers-chord", **SETTINGS)


@app.task(name="part", max_retries=5, default_retry_delay=60)
def part(name: str, after: int) -> None:
    """One chunk."""
    work.FUNCTIONS[name](after)


@app.task(name="call_back")
def call_back() -> None:
    """The body."""
    work.call_back()


def prepare() -> None:
    """Nothing of its own."""


def workers() -> Sequence[Sequence[str]]:
    """One worker with two processes."""
    options = ("--concurrency", str(WORKERS), "--loglevel", "WARNING")
    quiet = ("--without-mingle", "--without-gossip")
    return [work.python("celery", "-A", __name__, "worker", *options, *quiet)]


def submit(name: str, parts: Sequence[int]) -> None:
    """Send a message for each chunk."""
    chord(part.si(name, after) for after in parts)(call_back.si())


done = work.called_back
