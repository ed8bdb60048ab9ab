"""The controller: look, decide, write it down, do it. All that it knows is in the ledger."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from breakbulk.app import Breakbulk
from breakbulk.app.scaling import Note
from breakbulk.autoscale.provider import Node, Provider
from breakbulk.domain.backlog import Backlog, QueueBacklog, RunBacklog
from breakbulk.domain.decide import decide
from breakbulk.domain.scaling import Decision, History, Limits, Look, Work
from breakbulk.ledger.workers import Worker

log = logging.getLogger("breakbulk.autoscale")

#: Whoever leads and is not heard from for so many intervals is replaced.
_LEASE_INTERVALS = 3.0
_SHORTEST_LEASE = 10.0
#: Of so many nodes it is remembered that they were asked to stop.
_REMEMBERED = 100


@dataclass(frozen=True, slots=True)
class Turn:
    """What one turn has come to.

    Attributes:
        leads: False: another controller scales this group, and nothing was done.
        look: what was seen; None when it does not lead.
        decision: what followed from it.
        signal: what was published, where somebody else starts and stops the nodes.
    """

    leads: bool
    look: Look | None = None
    decision: Decision | None = None
    signal: tuple[QueueBacklog, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        if self.look is None or self.decision is None:
            published = [one.as_dict() for one in self.signal]
            return {"leads": self.leads, **({"published": published} if published else {})}
        look, decision = self.look, self.decision
        return {
            "leads": self.leads,
            "at": round(look.at, 3),
            "verb": decision.verb,
            "nodes": decision.nodes,
            "before": decision.before,
            "reason": decision.reason,
            "late": [{"run": run, "why": why} for run, why in decision.late],
            "there": look.nodes,
            "ready": look.ready,
            "lanes": look.lanes,
            "rows_per_second": round(look.rate, 1),
            "backlog_seconds": round(sum(work.seconds for work in look.work), 3),
        }


class Controller:
    """Scales one group of nodes. Somebody calls :meth:`turn` now and then.

    Args:
        queues: whose work the nodes do.
        interval: seconds from one turn to the next.
        dry_run: look and decide, and do nothing.
    """

    def __init__(
        self,
        bulk: Breakbulk,
        provider: Provider,
        limits: Limits,
        *,
        queues: Collection[str],
        interval: float = 5.0,
        dry_run: bool = False,
    ) -> None:
        self._bulk = bulk
        self._provider = provider
        self._limits = limits
        self._queues = frozenset(queues)
        self._lease = max(_LEASE_INTERVALS * interval, _SHORTEST_LEASE)
        self._dry_run = dry_run
        self._holder: UUID = uuid4()
        #: Of a dry run, whose memory is nobody else's.
        self._dreamt: dict[str, Any] | None = None

    def turn(self) -> Turn:
        """Look around once, and do what follows.

        Raises:
            LedgerUnreachable, SchemaError: the ledger cannot be read; the nodes go on meanwhile.
            ProviderRefused: nodes cannot be had or stopped now; the next turn tries again.
        """
        scaling, name = self._bulk.scaling, self._provider.name
        if not self._dry_run and not scaling.lead(name, self._holder, self._lease):
            return Turn(leads=False)
        backlog = self._bulk.backlog(self._limits.target_seconds)
        if not self._provider.scales:
            return self._publish(backlog)
        kept = self._dreamt or scaling.state(name)
        nodes, left = self._nodes(kept)
        workers = _workers_of(nodes, self._bulk.live_workers())
        lanes = self._lanes_of(workers)
        look = self._look(backlog, nodes, left, workers, kept)
        history = History.from_dict(kept.get("history", {}))
        decision, after = decide(self._limits, history, look)
        # Of those that are there only: what is asked for and does not show yet is not worth a lane.
        surplus = min(look.nodes, len(nodes)) - decision.nodes
        leaving = _fewest_first(nodes, lanes)[: max(surplus, 0)]
        asked = [*kept.get("leaving", ()), *[node.id for node in leaving]]
        state = {
            "history": after.as_dict(),
            "nodes": sorted(node.id for node in nodes if node not in leaving),
            "leaving": asked[-_REMEMBERED:],
        }
        if self._dry_run:
            self._dreamt = state
            return Turn(leads=True, look=look, decision=decision)
        notes = self._notes(backlog, decision, history, after)
        if not scaling.keep(name, self._holder, state, notes):
            return Turn(leads=False)
        started = self._act(decision, look, left, leaving)
        if started:
            # Or nobody would miss those that die before they are seen.
            scaling.keep(name, self._holder, {**state, "started": started}, ())
        busy = [node for node in nodes if lanes[node.id] and node not in leaving]
        self._provider.tend(busy, self._signal(backlog))
        return Turn(leads=True, look=look, decision=decision)

    def resign(self) -> None:
        """Let another controller go on at once."""
        if not self._dry_run:
            self._bulk.scaling.resign(self._provider.name, self._holder)

    def _act(
        self, decision: Decision, look: Look, left: Sequence[Node], leaving: Sequence[Node]
    ) -> int:
        """Do what was decided; how many nodes were started."""
        most = decision.nodes + len(leaving)
        if look.nodes > most:
            self._provider.forgo(most)
        if left or leaving:
            self._provider.shrink([*left, *leaving])
        if decision.nodes > look.nodes and decision.starts:
            return self._provider.grow(decision.nodes)
        return 0

    def _publish(self, backlog: Backlog) -> Turn:
        signal = self._signal(backlog)
        if not self._dry_run:
            self._provider.tend((), signal)
        return Turn(leads=True, signal=tuple(signal))

    def _signal(self, backlog: Backlog) -> list[QueueBacklog]:
        return [backlog.of(queue) for queue in sorted(self._queues)]

    def _nodes(self, kept: dict[str, Any]) -> tuple[list[Node], list[Node]]:
        """Nodes that are there, and those of them that another controller has asked to stop.

        It may have died before it could; and whoever still has a chunk in hand takes no other.
        """
        found = self._provider.nodes()
        asked = set() if self._provider.replaces else set(kept.get("leaving", ()))
        return (
            [node for node in found if node.id not in asked],
            [node for node in found if node.id in asked],
        )

    def _look(
        self,
        backlog: Backlog,
        nodes: Sequence[Node],
        left: Sequence[Node],
        workers: dict[str, list[Worker]],
        kept: dict[str, Any],
    ) -> Look:
        runs = [run for run in backlog.runs if run.queue in self._queues]
        return Look(
            at=backlog.at.timestamp(),
            nodes=self._provider.size() - len(left),
            ready=sum(bool(workers[node.id]) for node in nodes),
            lanes=sum(run.lanes for run in runs),
            rate=sum(run.rows_per_second for run in runs),
            jobs=" ".join(sorted({run.job for run in runs if run.chunks})),
            work=tuple(_work(run) for run in runs if run.usable_slots),
            lost=0 if self._provider.replaces else _lost(nodes, kept),
        )

    def _lanes_of(self, workers: dict[str, list[Worker]]) -> dict[str, int]:
        """How many lanes are at work on each node."""
        at_work = [lane.worker_id for lane in self._bulk.lanes()]
        return {
            node: sum(at_work.count(worker.id) for worker in found)
            for node, found in workers.items()
        }

    def _notes(
        self, backlog: Backlog, decision: Decision, before: History, after: History
    ) -> list[Note]:
        concerned = [run.run_id for run in backlog.runs if run.queue in self._queues]
        notes: list[Note] = [(run, "late", why) for run, why in decision.late]
        if decision.nodes != decision.before:
            steps = f"{decision.before} to {decision.nodes} nodes: {decision.reason}"
            notes += [(run, decision.verb, steps) for run in concerned]
        if after.ceiling is not None and after.ceiling != before.ceiling:
            notes += [(run, "no more nodes", after.ceiling.why) for run in concerned]
        for run, verb, detail in notes:
            log.info("run %s: %s: %s", run, verb, detail)
        return notes


def _work(run: RunBacklog) -> Work:
    # What holds back has no deadline for the time being: it keeps a node, and more would not help.
    left = run.seconds_left if run.chunks else None
    return Work(run.run_id, run.backlog_seconds, run.usable_slots, left, run.pace_is_known)


def _lost(nodes: Sequence[Node], kept: dict[str, Any]) -> int:
    """Nodes that are gone though nobody has taken them away, or were never seen at all."""
    there, before = {node.id for node in nodes}, set(kept.get("nodes", ()))
    started: int = kept.get("started", 0)
    return len(before - there) + max(started - len(there - before), 0)


def _workers_of(nodes: Sequence[Node], live: Sequence[Worker]) -> dict[str, list[Worker]]:
    """The workers on each node that take work."""
    return {
        node.id: [
            worker for worker in live if not worker.draining and node.runs(worker.host, worker.pid)
        ]
        for node in nodes
    }


def _fewest_first(nodes: Sequence[Node], lanes: dict[str, int]) -> list[Node]:
    """Who is taken away first: who has nothing to do, and of those who came last."""
    order = {node.id: place for place, node in enumerate(nodes)}
    return sorted(nodes, key=lambda node: (lanes[node.id], -order[node.id]))
