"""Whoever submits a chord and dies before its last part: ``python -m tests.outside.publisher``."""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import celery

from breakbulk import canvas as ours
from tests.outside import application
from tests.outside.application import Config

if TYPE_CHECKING:
    from collections.abc import Iterator

PARTS = 6


def submit(built: Any, names: dict[str, str], *, die: bool) -> Any:
    """Submit the chord, as anybody would who has a generator of parts."""
    canvas: Any = celery if built.bulk is None else ours
    tasks = built.tasks

    def header() -> Iterator[Any]:
        for number in range(PARTS):
            if die and number == PARTS - 1:
                os.kill(os.getpid(), signal.SIGKILL)
            yield tasks.note.si(number, key=names["part"])

    body = tasks.note.s(key=names["body"])
    body.link_error(tasks.note.si("told", key=names["told"]))
    options: dict[str, Any] = {} if built.bulk is None else {"idempotency_key": names["job"]}
    return canvas.chord(header(), body).apply_async(**options)


def main() -> None:
    """Submit it and die."""
    submit(application.build(Config.from_environment()), json.loads(sys.argv[1]), die=True)


if __name__ == "__main__":
    main()
