"""Workers that follow the work: what ``breakbulk autoscale`` does, within the demo."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from breakbulk import Breakbulk
from breakbulk.autoscale import Controller, Turn
from breakbulk.autoscale.processes import Processes
from breakbulk.demo.crew import Replacement, command_of, environment
from breakbulk.demo.screen import Screen
from breakbulk.domain.scaling import Limits
from breakbulk.errors import LedgerUnreachable

_INTERVAL = 1.0
_STOP_SECONDS = 8.0
_TARGET = 2.0
"""Seconds in which the work should be done: few, so that a demo needs all the nodes it may have."""
_QUEUE = "breakbulk-demo"
_REST = 3


class Followers:
    """As many workers as the work takes, up to a limit.

    Args:
        home: where their logs go, and where they run.
        file: the shop's ``.ini``.
        most: workers at most.
        record: a file for what is seen and decided at each look, one line of JSON each.
    """

    def __init__(
        self,
        bulk: Breakbulk,
        home: Path,
        file: Path,
        *,
        most: int,
        screen: Screen,
        record: Path | None,
    ) -> None:
        self._screen = screen
        self._record = record
        # The workers' end and ours.
        self._lifeline = list(os.pipe())
        self._scratch = home / "workers"
        self._scratch.mkdir(mode=0o700, exist_ok=True)
        self._provider = Processes(
            command_of(file),
            group=f"demo {os.getpid()} for ledger {bulk.scaling.place}",
            logs=home,
            directory=home,
            environment=environment(self._scratch, self._lifeline[0]),
            pass_fds=self._lifeline[:1],
        )
        limits = Limits(
            minimum=1,
            maximum=most,
            target_seconds=_TARGET,
            out_cooldown=1.0,
            in_cooldown=5.0,
            start_seconds=5.0,
        )
        self._controller = Controller(
            bulk, self._provider, limits, queues=[_QUEUE], interval=_INTERVAL
        )
        self._due_at = 0.0
        self._looks_at_rest = 0
        self._starts = True
        self._logs = home
        if record is not None:
            record.unlink(missing_ok=True)

    @property
    def pids(self) -> list[int]:
        """The main processes."""
        return [node.pid for node in self._provider.nodes() if node.pid is not None]

    def start(self) -> None:
        """Start the first one."""
        self._look()

    def mind(self) -> Iterator[Replacement]:
        """Let them follow the work; who has died is replaced with the next look."""
        if time.monotonic() >= self._due_at:
            self._look()
        return iter(())

    @property
    def settled(self) -> bool:
        """Whether no more are left than there always are, and have been for some looks."""
        return self._looks_at_rest > _REST

    def stop(self) -> None:
        """Let them finish the chunk in hand and sign off, and wait until all are gone."""
        if not self._provider.drain(_STOP_SECONDS):
            self._provider.kill()
        while self._lifeline:
            os.close(self._lifeline.pop())
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _look(self) -> None:
        self._due_at = time.monotonic() + _INTERVAL
        try:
            turn = self._controller.turn()
        except LedgerUnreachable:
            # Whoever looks at the run says so.
            return
        self._tell(turn)

    def _tell(self, turn: Turn) -> None:
        decision = turn.decision
        if decision is None:
            return
        at_rest = decision.nodes <= 1 and decision.before <= 1
        self._looks_at_rest = self._looks_at_rest + 1 if at_rest else 0
        if self._record is not None:
            with self._record.open("a", encoding="utf-8") as file:
                file.write(json.dumps(turn.as_dict()) + "\n")
        if not decision.starts and self._starts:
            self._screen.say(
                "troubled",
                f"Autoscale: {decision.reason} (see {self._logs}).",
                reason=decision.reason,
            )
        self._starts = decision.starts
        if decision.nodes != decision.before:
            self._screen.say(
                "scaled",
                f"Autoscale: {decision.before} to {decision.nodes} workers: {decision.reason}.",
                before=decision.before,
                nodes=decision.nodes,
                reason=decision.reason,
            )
