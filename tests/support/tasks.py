"""Celery tasks of the team, as scripts with groups and chords have them; they know no Breakbulk.

But for one, which asks for its chunk. What they do they write down, one line each, in a file.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded
from celery.signals import task_failure, task_postrun, task_prerun, task_retry, task_success
from sqlalchemy import insert, update

import breakbulk
from tests.support.orders import Orders

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery import Celery

#: File in which signals are written down, if there is one.
SIGNALS = "CANVAS_SIGNALS"


def note(path: str, *words: object) -> None:
    """Write a line down, whole, whoever else writes."""
    line = f"{json.dumps(words)}\n".encode()
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, line)
    finally:
        os.close(file)


def notes(path: str | Path) -> list[list[Any]]:
    """What was written down."""
    found = Path(path)
    return [json.loads(line) for line in found.read_text().splitlines()] if found.exists() else []


def refuse(retries: int, failing: int) -> None:
    """Fail the first few times."""
    if retries < failing:
        raise ValueError(f"not yet: {retries}")


def declare(app: Celery, product: Any, notice: Any) -> None:  # noqa: C901, PLR0915  (many small tasks)
    """Register the tasks.

    Args:
        product: a model with an ``id`` and a ``version``.
        notice: a model of what callbacks leave behind, with the run and its rows.
    """

    def task(name: str, **options: Any) -> Callable[[Callable[..., Any]], Any]:
        made: Any = app.task(name=f"team.{name}", shared=False, **options)
        return cast("Callable[[Callable[..., Any]], Any]", made)

    @task("add")
    def add(x: float, y: float) -> float:
        return x + y

    @task("nothing")
    def nothing(*_: Any) -> None:
        return None

    @task("total")
    def total(numbers: list[float], path: str = "") -> float:
        if path:
            note(path, "total", list(numbers))
        return sum(numbers)

    @task("write")
    def write(*words: Any, path: str) -> Any:
        note(path, *words)
        return words[-1] if words else None

    @task("wait")
    def wait(directory: str, name: str = "part") -> str:
        from tests.support.warehouse import Gate

        Gate(directory).pass_through(name)
        return name

    # As the article has it, but for the time it waits.
    @task("part", bind=True, acks_late=True, max_retries=5)
    def part(self: Any, start: int, end: int, path: str, failing: int = 0) -> bool:
        try:
            request = self.request
            note(path, "part", start, end, request.retries, request.id, request.group)
            refuse(request.retries, failing)
        except Exception as exc:  # noqa: BLE001  (as it stands there)
            raise self.retry(exc=exc, countdown=0.1) from None
        return True

    @task("finished", bind=True, acks_late=True, max_retries=5)
    def finished(self: Any, results: Any = None, path: str = "", failing: int = 0) -> str:
        try:
            note(path, "finished", results, self.request.retries)
            refuse(self.request.retries, failing)
        except Exception as exc:  # noqa: BLE001  (as it stands there)
            raise self.retry(exc=exc, countdown=0.1) from None
        return "done"

    @task(
        "auto",
        bind=True,
        autoretry_for=(KeyError,),
        max_retries=2,
        retry_backoff=False,
        default_retry_delay=0,
    )
    def auto(self: Any, path: str, failing: int) -> int:
        note(path, "auto", self.request.retries)
        if self.request.retries < failing:
            raise KeyError("again")
        return int(self.request.retries)

    @task("fail")
    def fail(*words: Any) -> None:
        raise ValueError(f"failed {list(words)}")

    @task("ignore")
    def ignore() -> None:
        raise Ignore

    @task("reject", bind=True)
    def reject(self: Any, path: str, *, requeue: bool = False) -> str:
        before = len(notes(path))
        note(path, "reject")
        if not requeue or before < 2:
            raise Reject("not mine", requeue=requeue)
        return "taken"

    @task("silent", ignore_result=True)
    def silent(value: Any) -> Any:
        return value

    @task("soft", bind=True, soft_time_limit=0.7)
    def soft(self: Any, *, catches: bool) -> str:
        try:
            while True:
                time.sleep(0.01)  # the work of a task that takes too long
        except SoftTimeLimitExceeded:
            if not catches:
                raise
        return "caught"

    @task("hard", time_limit=0.7)
    def hard() -> None:
        while True:
            time.sleep(0.01)  # likewise

    @task("count")
    def count(key: int, path: str = "") -> int:
        """Count a row's version up, in the transaction of the part."""
        session = breakbulk.current_chunk().session
        table = product.__table__
        session.execute(update(table).where(table.c.id == key).values(version=table.c.version + 1))
        if path:
            note(path, "count", key)
        return key

    @task("haul", acks_late=True)
    def haul(key: int, seconds: float, orders: str, path: str, *, session: bool = True) -> None:
        """The same, while things go wrong: it takes its time, and writes a line as well.

        Or nothing but the line, for which it asks for no session.
        """
        whole = 0.0 if Orders(orders).hurried else seconds
        time.sleep(whole / 2)  # the work itself, part of it before the row is locked
        if session:
            count(key, path)
        else:
            note(path, "count", key)
        time.sleep(whole / 2)  # and part of it while it is

    @task("call_back")
    def call_back(path: str = "", gate: str = "") -> None:
        """A body that leaves its notice in the run's own transaction, or a line beside it."""
        from tests.support.warehouse import Gate

        run = breakbulk.current_run()
        if path:
            note(path, "call_back")
        else:
            values = {"run": run.id, "rows": run.summary.rows_done}
            run.session.execute(insert(notice).values(**values))
        if gate:
            Gate(gate).pass_through("body")

    @task("new_errback")
    def new_errback(request: Any, exc: BaseException, traceback: str, path: str = "") -> None:
        note(os.environ.get("CANVAS_ERRORS", path), "new", request.id, str(exc), bool(traceback))

    @task("old_errback")
    def old_errback(task_id: str, path: str = "") -> None:
        note(path, "old", task_id)

    if SIGNALS in os.environ:
        _listen(os.environ[SIGNALS])


def _listen(path: str) -> None:
    for signal, name in (
        (task_prerun, "prerun"),
        (task_postrun, "postrun"),
        (task_success, "success"),
        (task_retry, "retry"),
        (task_failure, "failure"),
    ):

        def heard(sender: Any = None, name: str = name, **_: Any) -> None:
            if sender.name.startswith("team."):
                note(path, name, sender.name)

        signal.connect(heard, weak=False)
