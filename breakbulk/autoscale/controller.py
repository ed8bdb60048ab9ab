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
from breakbulk.domain.backlog import Backlog, RunBacklog
from breakbulk.domain.decide import decide
from breakbulk.domain.scaling import Decision, History, Limits, Look, Work
from breakbulk.ledger.workers import Worker

log = logging.getLogger("breakbulk.autoscale")

#: Whoever leads and is not heard from for so many intervals is replaced.
_LEASE_INTERVALS = 3.0
_SHORTEST_LEASE = 10.0


@dataclass(frozen=True, slots=True)
class Turn:
    """What one turn has come to.

    Attributes:
        leads: False: another controller scales this group, and nothing was done.
        look: what was seen; None when it does not lead.
        decision: what followed from it.
    """

    leads: bool
    look: Look | None = None
    decision: Decision | None = None

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        if self.look is None or self.decision is None:
            return {"leads": self.leads}
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
        kept = self._dreamt or scaling.state(name)
        backlog = self._bulk.backlog()
        nodes = self._provider.nodes()
        workers = _workers_of(nodes, self._bulk.live_workers())
        lanes = self._lanes_of(workers)
        look = self._look(backlog, nodes, workers, kept)
        history = History.from_dict(kept.get("history", {}))
        decision, after = decide(self._limits, history, look)
        leaving = _fewest_first(nodes, lanes)[: max(look.nodes - decision.nodes, 0)]
        state = {
            "history": after.as_dict(),
            "nodes": sorted(node.id for node in nodes if node not in leaving),
        }
        if self._dry_run:
            self._dreamt = state
            return Turn(leads=True, look=look, decision=decision)
        notes = self._notes(backlog, decision, history, after)
        if not scaling.keep(name, self._holder, state, notes):
            return Turn(leads=False)
        self._act(decision, look, leaving, [node for node in nodes if lanes[node.id]], backlog)
        return Turn(leads=True, look=look, decision=decision)

    def resign(self) -> None:
        """Let another controller go on at once."""
        if not self._dry_run:
            self._bulk.scaling.resign(self._provider.name, self._holder)

    def _act(
        self,
        decision: Decision,
        look: Look,
        leaving: Sequence[Node],
        busy: Sequence[Node],
        backlog: Backlog,
    ) -> None:
        if decision.nodes > look.nodes and decision.starts:
            self._provider.grow(decision.nodes)
        elif leaving:
            self._provider.shrink(leaving)
        signal = [backlog.of(queue) for queue in sorted(self._queues)]
        self._provider.tend([node for node in busy if node not in leaving], signal)

    def _look(
        self,
        backlog: Backlog,
        nodes: Sequence[Node],
        workers: dict[str, list[Worker]],
        kept: dict[str, Any],
    ) -> Look:
        runs = [run for run in backlog.runs if run.queue in self._queues]
        there = {node.id for node in nodes}
        gone = [one for one in kept.get("nodes", ()) if one not in there]
        return Look(
            at=backlog.at.timestamp(),
            nodes=self._provider.size(),
            ready=sum(bool(workers[node.id]) for node in nodes),
            lanes=sum(run.lanes for run in runs),
            rate=sum(run.rows_per_second for run in runs),
            jobs=" ".join(sorted({run.job for run in runs if run.chunks})),
            work=tuple(_work(run) for run in runs if run.usable_slots),
            lost=0 if self._provider.replaces else len(gone),
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
