"""What a scenario plays on: one contestant, with keys and gates that no other scenario uses."""

from __future__ import annotations

import json
import secrets
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from redis import Redis
from sqlalchemy import text

from breakbulk.domain.status import FINISHED
from tests.outside.application import BREAKBULK, CELERY
from tests.support import failpoints
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import SimpleNamespace

    from sqlalchemy import Engine

    from tests.outside.application import Config
    from tests.outside.camp import Camp
    from tests.support.workers import Worker

#: So often in a row nothing may be left to do before a contestant counts as done.
_QUIET_LOOKS = 3
#: Seconds in which something has to happen: of Celery's everything that a scenario waits for, all
#: in all, because a chord of Celery's that hangs costs that long; of ours each thing, because where
#: nothing hangs only a busy machine makes anybody wait.
PATIENCE = {CELERY: 15.0, BREAKBULK: 60.0}
#: Seconds that a look takes at least: to Celery, 0 is for as long as it takes.
_LEAST = 0.1


class NotSet(Exception):
    """The stage could not be set, so the scenario says nothing about its contestant."""


class Yard:
    """One scenario's place.

    Args:
        camp: the contestant.
        built: its application, if it is not the camp's own.
        engine: of that application's database.
        number: of the broker's database that this application's workers listen at.

    Attributes:
        chain, chord, group: the contestant's own.
        tasks: the application's.
    """

    def __init__(
        self,
        camp: Camp,
        built: SimpleNamespace | None = None,
        *,
        engine: Engine | None = None,
        number: int = 0,
    ) -> None:
        self.camp = camp
        self._deadline = time.monotonic() + PATIENCE[CELERY]
        self._engine = engine or camp.engine
        self.built = built or camp.built
        self.tasks = self.built.tasks
        self.app = self.built.app
        self._token = secrets.token_hex(4)
        self._broker = camp.client(number)
        if camp.name == CELERY:
            import celery as canvas
        else:
            from breakbulk import canvas  # type: ignore[no-redef]
        self.chain: Any = canvas.chain
        self.chord: Any = canvas.chord
        self.group: Any = canvas.group

    @property
    def ours(self) -> bool:
        """Whether the contestant is Breakbulk."""
        return self.camp.name == BREAKBULK

    @property
    def patience(self) -> float:
        """Seconds in which what is waited for next has to happen."""
        if self.ours:
            return PATIENCE[BREAKBULK]
        return max(_LEAST, self._deadline - time.monotonic())

    @contextmanager
    def aside(self) -> Iterator[None]:
        """What is done here is not the contestant's work, and takes none of its time."""
        began = time.monotonic()
        try:
            yield
        finally:
            self._deadline += time.monotonic() - began

    def __getitem__(self, name: str) -> str:
        """A key that is this scenario's own."""
        return f"{self._token}:{name}"

    def close(self) -> None:
        """Let go."""
        self._broker.close()

    # What tasks have noted.

    def notes(self, name: str) -> list[Any]:
        """What was noted under a name."""
        found: list[Any] = self.built.notes.read(self[name])
        return found

    def until(
        self,
        condition: Callable[[], Any],
        message: str = "the condition",
        timeout: float | None = None,
    ) -> Any:
        """Wait until it is so; a time that is given comes on top of what a scenario has."""
        if timeout is None:
            return wait_for(condition, timeout=self.patience, message=message)
        with self.aside():
            return wait_for(condition, timeout=timeout, message=message)

    def until_noted(self, name: str, count: int = 1, timeout: float | None = None) -> list[Any]:
        """Wait until so many notes are there under a name; return them."""
        self.until(
            lambda: len(self.notes(name)) >= count, f"{count} notes of {name}", timeout=timeout
        )
        return self.notes(name)

    def prepare(
        self, condition: Callable[[], Any], message: str, timeout: float | None = None
    ) -> Any:
        """Wait until the stage is set.

        Raises:
            NotSet: it is not, so nothing would follow from whatever comes.
        """
        try:
            return self.until(condition, message, timeout=timeout)
        except AssertionError as error:
            raise NotSet(str(error)) from error

    def until_at(self, gate: str, count: int = 1) -> list[int]:
        """Set the stage: so many have come to a gate; return their processes."""
        arrived = f"{gate}:arrived"
        self.prepare(lambda: len(self.notes(arrived)) >= count, f"{count} to come to {gate}")
        return self.notes(arrived)

    def open(self, gate: str) -> None:
        """Open a gate for good."""
        self.built.notes.client.set(f"{self[gate]}:open", 1)

    def lay(self, place: str) -> None:
        """Lay a trap: the next process that comes to this place dies there."""
        if place in failpoints.names():
            self.camp.snares.lay(place)
            return
        self.built.notes.client.set(f"trap:{place}", 1)

    def sprung(self, place: str) -> bool:
        """Whether somebody was caught."""
        if place in failpoints.names():
            return self.camp.snares.sprung(place)
        return not self.built.notes.client.exists(f"trap:{place}")

    @contextmanager
    def setting(self, name: str, *, value: Any) -> Iterator[None]:
        """Let Celery have another setting, in this process."""
        before = getattr(self.app.conf, name)
        setattr(self.app.conf, name, value)
        try:
            yield
        finally:
            setattr(self.app.conf, name, before)

    def start_worker(self, config: Config | None = None, **options: Any) -> Worker:
        """Start one more worker, as :meth:`Camp.start_worker` does."""
        with self.aside():
            return self.camp.start_worker(config, **options)

    # What the contestant has to do.

    def left(self) -> list[str]:
        """What is left that would be done by itself.

        Messages are acknowledged when their task is over, and whatever follows from a task was
        sent before: with no message queued and none in hand, nothing will come. Of Breakbulk the
        ledger has to say so as well.
        """
        queues = [key for key in self._broker.scan_iter(_type="list") if "kombu" not in key]
        with self._broker.pipeline() as both:
            for queue in queues:
                both.llen(queue)
            both.hvals("unacked")
            *lengths, in_hand = both.execute()
        found = [f"{length} in {queue}" for queue, length in zip(queues, lengths, strict=True)]
        found += [f"in hand: {json.loads(one)[0]['headers']['task']}" for one in in_hand]
        if self.ours:
            runs = self.built.bulk.runs()
            found += [f"run {run.id} is {run.status}" for run in runs if run.status not in FINISHED]
        return [one for one in found if not one.startswith("0 ")]

    def settle(self, timeout: float | None = None) -> None:
        """Wait until there is nothing left to do.

        Raises:
            NotSet: there still is, so what is there is not what there will be.
        """
        looks = 0
        left: list[str] = []

        def still() -> bool:
            nonlocal looks, left
            left = self.left()
            looks = looks + 1 if not left else 0
            return looks >= _QUIET_LOOKS

        try:
            self.until(still, "an end", timeout=timeout)
        except AssertionError:
            raise NotSet(f"{self.camp.name} still has, after a while: {left}") from None

    def redeliver(self, messages: dict[str, str]) -> None:
        """Put messages into their queue once more, as a broker does that has had no answer."""
        for message in messages.values():
            self._broker.lpush(self.app.conf.task_default_queue, _copy(message))

    def in_hand(self) -> dict[str, str]:
        """Every message that was delivered and is not acknowledged yet."""
        found: dict[Any, Any] = self._broker.hgetall("unacked")
        return found

    def claim_lapsed(self, handle: Any) -> bool:
        """Whether no worker of Celery's has a claim to call a chord's body any more."""
        with Redis.from_url(self.camp.config.results) as results:
            return not results.exists(f"celery-taskset-meta-{handle.parent.id}.c")

    def forget_in_hand(self) -> None:
        """Let no message be in hand any more: of a dead worker's nobody knows for an hour."""
        self._broker.delete("unacked", "unacked_index")

    def flush_broker(self) -> None:
        """Let the broker lose all that it has."""
        self._broker.flushdb()

    @contextmanager
    def refusing_broker(self) -> Iterator[None]:
        """Let the broker take no message, and give out those that it has."""
        self._broker.acl_setuser("default", enabled=True, commands=["-lpush"])
        try:
            yield
        finally:
            self._broker.acl_setuser("default", enabled=True, commands=["+lpush"])

    # What came of it.

    def result(self, handle: Any) -> Any:
        """What the caller is given who waits for it."""
        return handle.get(timeout=self.patience)

    def failure(self, handle: Any) -> str:
        """What the caller is told who waits for the result, which must be a failure."""
        try:
            result = handle.get(timeout=self.patience)
        except AssertionError:
            raise
        except Exception as error:  # noqa: BLE001  (contestants have their own)
            return repr(error)
        raise AssertionError(f"no failure, but {result!r}")

    def successes(self, handle: Any) -> list[Any]:
        """Results of those parts that have succeeded."""
        if not self.ours:
            return [part.result for part in handle.parent.results if part.successful()]
        return [value for value in handle.results() if value is not None]

    def forget_rows(self) -> None:
        """Let no row be there yet."""
        with self._engine.begin() as connection:
            connection.execute(text("TRUNCATE rows"))

    def rows(self) -> list[int]:
        """Every row that tasks have written, once for each time."""
        return self._column("SELECT number FROM rows ORDER BY number")

    def callbacks(self, job: str) -> list[str]:
        """What a body was called with, once for each time that it was committed."""
        return self._column("SELECT given FROM callbacks WHERE job = :job", job=self[job])

    def _column(self, query: str, **values: Any) -> list[Any]:
        with self._engine.connect() as connection:
            return list(connection.execute(text(query), values).scalars())


def _copy(message: str) -> str:
    payload = json.loads(message)[0]
    # With a tag of its own, else the broker would take both for one.
    payload["properties"]["delivery_tag"] = str(uuid4())
    return json.dumps(payload)
