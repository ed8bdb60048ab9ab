"""The thread that calls a node's hooks."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from breakbulk.nodes.hook import NodeHook

log = logging.getLogger("breakbulk.node")

_LOOK_EVERY = 1.0


@dataclass(slots=True)
class _Told:
    """What a hook was told last, and when; what it has complained of."""

    busy: bool | None = None
    at: float = -math.inf
    not_before: float = -math.inf
    asked_at: float = -math.inf
    complaint: str = ""


class NodeWatch:
    """Tells hooks whether work goes on, and hears of it when the node is about to go.

    Args:
        hooks: whom.
        at_work: whether any task is at work.
        leave: called once, with the reason, when the node is about to go.
        clock: seconds.
    """

    def __init__(
        self,
        hooks: Sequence[NodeHook],
        at_work: Callable[[], bool],
        leave: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._hooks = [(hook, _Told()) for hook in hooks]
        self._at_work = at_work
        self._leave = leave
        self._clock = clock
        self._busy_at = -math.inf
        self._leaves = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="breakbulk-node", daemon=True)

    def start(self) -> None:
        """Look once, then go on in a thread.

        Once at first: a worker that was started anew on a node that is about to go must not begin
        anything.
        """
        if self._hooks:
            self.look()
            self._thread.start()

    def stop(self) -> None:
        """End, and tell that nothing is at work any more."""
        if not self._thread.is_alive():
            return
        self._stop.set()
        self._thread.join(timeout=10)
        for hook, told in self._hooks:
            if told.busy:
                self._call(hook.idle, told)

    def look(self) -> None:
        """Tell and ask each hook what is due."""
        now = self._clock()
        if self._at_work():
            self._busy_at = now
        for hook, told in self._hooks:
            self._tell(hook, told, now)
            if now - told.asked_at >= hook.ask_seconds:
                told.asked_at = now
                self._ask(hook, told)

    def _tell(self, hook: NodeHook, told: _Told, now: float) -> None:
        # At first nothing is told, and what an earlier worker has told may still stand.
        busy = now - self._busy_at <= (hook.idle_seconds if told.busy else 0.0)
        due = busy != told.busy or (busy and now - told.at >= hook.renew_seconds)
        if not due or now < told.not_before:
            return
        if self._call(hook.busy if busy else hook.idle, told):
            told.busy, told.at = busy, now
        else:
            told.not_before = now + hook.ask_seconds

    def _ask(self, hook: NodeHook, told: _Told) -> None:
        heard: list[str | None] = []
        if not self._call(lambda: heard.append(hook.leaving()), told) or not heard[0]:
            return
        if not self._leaves:
            self._leaves = True
            log.warning("this worker ends after what it has in hand: %s", heard[0])
            self._leave(heard[0])

    def _call(self, what: Callable[[], None], told: _Told) -> bool:
        try:
            what()
        except Exception as error:  # noqa: BLE001  (no work waits for a hook)
            sentence = f"{type(error).__name__}: {error}"
            if sentence != told.complaint:
                log.warning("a hook of this node failed, and is called again later: %s", sentence)
            told.complaint = sentence
            return False
        return True

    def _run(self) -> None:
        while not self._stop.wait(_LOOK_EVERY):
            try:
                self.look()
            except Exception:  # it must go on
                log.exception("the node's watch was interrupted")
