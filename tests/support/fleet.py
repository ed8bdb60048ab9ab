"""The workers of a test under fire, as whoever runs them sees them: what ends is started again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from tests.support.stage import Stage
    from tests.support.workers import Worker


class Fleet:
    """Workers that are alike.

    Args:
        size: how many there are to be.
        options: of :meth:`Stage.worker`.
    """

    def __init__(self, stage: Stage, size: int, **options: Any) -> None:
        self._stage = stage
        self.size = size
        self._options = options
        self.members: list[Worker] = []

    def able(self) -> list[Worker]:
        """Workers that run, and are not frozen."""
        return [worker for worker in self.members if worker.running and not worker.frozen]

    def replenish(self) -> None:
        """Start workers in the place of those that are not able, until all are ready.

        If there are too many, because frozen ones have come back, the oldest are sent home.
        """
        self.members = [worker for worker in self.members if worker.running]
        missing = self.size - len(self.able())
        fresh = [self.join() for _ in range(missing)]
        for worker in fresh:
            worker.until_ready()
        surplus = self.able()[: max(0, -missing)]
        for worker in surplus:
            worker.until_ready()
            worker.terminate()
        for worker in surplus:
            assert worker.wait() == 0, worker.last_lines()
            self.members.remove(worker)

    def join(self, **options: Any) -> Worker:
        """Start one more worker, and do not wait for it."""
        worker = self._stage.worker(ready=False, **{**self._options, **options})
        self.members.append(worker)
        return worker

    def of(self, pid: int) -> Worker:
        """The worker whose main process that is."""
        return next(worker for worker in self.members if worker.pid == pid)

    def go_home(self) -> None:
        """Shut all down warmly, and see that nothing of any worker is left."""
        here = [worker for worker in self.members if worker.running]
        for worker in here:
            worker.until_ready()
            worker.terminate()
        for worker in here:
            assert worker.wait() == 0, worker.last_lines()
        self.members.clear()
        for worker in self._stage.workers:
            wait_for(
                lambda worker=worker: not worker.family(),  # type: ignore[misc]
                message=f"the last process of {worker.name} to end",
            )
