"""A Dramatiq group on Redis with a completion callback."""

from __future__ import annotations

from collections.abc import Sequence

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import GroupCallbacks
from dramatiq.rate_limits.backends import RedisBackend

from bench.peers import work
from bench.peers.peer import WORKERS, About

# "--processes: the number of worker processes to run, --threads: the number of worker threads per
# process". One thread each, because the work is Python's: two processes, two chunks at a time.
# https://dramatiq.io/guide.html#workers
SETTINGS = {"--processes": WORKERS, "--threads": 1}
ABOUT = About(
    title="Dramatiq group",
    packages=("dramatiq", "redis"),
    settings=SETTINGS,
    why=(
        "--threads: one for work that is bound to the processor, https://dramatiq.io/guide.html",
        "GroupCallbacks: https://dramatiq.io/cookbook.html#composition",
    ),
    end="its completion callback writes the time",
    durable="messages may be worked twice; a flushed broker calls back early",
)

broker = RedisBroker(url=work.broker())
broker.add_middleware(GroupCallbacks(RedisBackend(url=work.broker())))
dramatiq.set_broker(broker)


@dramatiq.actor(max_retries=5, min_backoff=60_000)
def part(name: str, after: int) -> None:
    """One chunk."""
    work.FUNCTIONS[name](after)


@dramatiq.actor
def call_back() -> None:
    """The completion callback."""
    work.call_back()


def prepare() -> None:
    """Nothing of its own."""


def workers() -> Sequence[Sequence[str]]:
    """One master with two processes."""
    options = [word for name, value in SETTINGS.items() for word in (name, str(value))]
    return [work.python("dramatiq", __name__, *options)]


def submit(name: str, parts: Sequence[int]) -> None:
    """Send a message for each chunk."""
    group = dramatiq.group(part.message(name, after) for after in parts)
    group.add_completion_callback(call_back.message())
    group.run()


done = work.called_back
