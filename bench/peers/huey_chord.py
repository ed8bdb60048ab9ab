"""A Huey chord on Redis."""

from __future__ import annotations

from collections.abc import Sequence

from huey import RedisHuey
from huey.api import chord

from bench.peers import work
from bench.peers.peer import WORKERS, About

# "For CPU-bound work, use process workers."
# https://huey.readthedocs.io/en/latest/consumer.html#worker-types
SETTINGS = {"-k": "process", "-w": WORKERS}
ABOUT = About(
    title="Huey chord",
    packages=("huey", "redis"),
    settings=SETTINGS,
    why=("-k process: https://huey.readthedocs.io/en/latest/consumer.html",),
    end="its callback writes the time",
    durable="a task in hand is lost with its process",
)

huey = RedisHuey("peers", url=work.broker())


@huey.task(retries=5, retry_delay=60)
def part(name: str, after: int) -> int:
    """One chunk; a task without a result would count for no chord."""
    work.FUNCTIONS[name](after)
    return 1


@huey.task()
def call_back(_results: list[int]) -> None:
    """The callback."""
    work.call_back()


def prepare() -> None:
    """Nothing of its own."""


def workers() -> Sequence[Sequence[str]]:
    """One consumer with two processes."""
    options = [word for name, value in SETTINGS.items() for word in (name, str(value))]
    return [work.python("huey.bin.huey_consumer", f"{__name__}.huey", *options, "-q")]


def submit(name: str, parts: Sequence[int]) -> None:
    """Enqueue all."""
    huey.enqueue(chord([part.s(name, after) for after in parts], call_back.s()))


done = work.called_back
