"""A yard whose team has Celery tasks; lanes, and what they send, are worked on in this process."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, cast

import pytest

import breakbulk
from breakbulk.runner.sending import Sender
from tests.support.waiting import wait_for
from tests.support.yard import Goods

if TYPE_CHECKING:
    from collections.abc import Callable

    from breakbulk.canvas import CanvasResult
    from tests.support.yard import Yard


class Team:
    """The team's tasks, and what they were called with.

    Attributes:
        told: what tasks have noted, in order.
        broken: tasks that fail, by their first argument.
    """

    def __init__(self, yard: Yard) -> None:  # noqa: C901  (six small tasks)
        self.yard = yard
        self.app = yard.celery
        self.told: list[tuple[Any, ...]] = []
        self.broken: set[Any] = set()
        self._sender = Sender(yard.runtime, self._send)
        task = partial(self.app.task, shared=False)

        @task(name="team.add")
        def add(x: float, y: float = 0) -> float:
            self.told.append(("add", x, y))
            if x in self.broken:
                raise ValueError(f"{x} is broken")
            return x + y

        @task(name="team.tell")
        def tell(*words: Any) -> Any:
            self.told.append(("tell", *words))
            if "body" in self.broken:
                raise KeyError("the body is broken")
            return words[0] if words else None

        @task(name="team.flaky", bind=True, max_retries=3)
        def flaky(self_: Any, x: int, failing: int) -> list[Any]:
            retries = self_.request.retries
            self.told.append(("flaky", x, retries))
            if retries < failing:
                raise self_.retry(exc=ValueError(f"try {retries}"), countdown=0)
            return [x, retries]

        @task(name="team.count")
        def count(key: int) -> None:
            chunk = breakbulk.current_chunk()
            row = chunk.session.get(Goods, key)
            assert row is not None
            row.version += 1
            chunk.session.flush()
            if key in self.broken:
                raise ValueError(key)

        @task(name="team.new_errback")
        def new_errback(request: Any, exc: BaseException, traceback: str) -> None:
            self.told.append(("new errback", request.task, str(exc)))

        @task(name="team.old_errback")
        def old_errback(task_id: str) -> None:
            self.told.append(("old errback", task_id))

        self.add, self.tell, self.flaky, self.count = add, tell, flaky, count
        self.new_errback, self.old_errback = new_errback, old_errback

    def task(self, **options: Any) -> Callable[[Callable[..., Any]], Any]:
        """One more task."""
        made: Any = self.app.task(shared=False, **options)
        return cast("Callable[[Callable[..., Any]], Any]", made)

    def settle(self, *handles: CanvasResult) -> None:
        """Work until these stand still, and all that they send is done."""
        for handle in handles:
            self.yard.settle(handle.run)
        self.send()

    def send(self) -> None:
        """Send what is in the outbox, and do it at once."""

        def over() -> bool:
            with self.yard.runtime.database.connect() as connection:
                self._sender.tick(connection)
            return not self._sender.busy

        over()
        wait_for(over, message="the outbox to be empty")

    def told_of(self, name: str) -> list[list[Any]]:
        """What tasks of that name have noted, without it."""
        return [list(words) for first, *words in self.told if first == name]

    def _send(self, signature: str, run_id: int, task_id: str) -> None:
        self.app.conf.task_always_eager = True
        # Whatever it starts is started, and not worked on: the test says when.
        try:
            assert self.yard.bulk.broker is not None
            self.yard.bulk.broker.send_link(signature, run_id, task_id)
        finally:
            self.app.conf.task_always_eager = False


@pytest.fixture
def team(yard: Yard) -> Team:
    """A team on each kind of database in turn."""
    return Team(yard)
