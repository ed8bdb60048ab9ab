"""What Prometheus asks for: the ledger's figures, read when somebody scrapes.

Labels are queues and jobs, never runs or chunks, so that their number does not grow with the work.
Zeros are there, too. Every process that answers reads the same ledger, so one target is enough.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from breakbulk.app import Breakbulk
from breakbulk.domain.backlog import QueueBacklog, RunBacklog, together
from breakbulk.domain.status import ACTIVE
from breakbulk.errors import LedgerUnreachable, SchemaError

WSGIApplication = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

#: Of each queue and job: name, what it is, and where it is found.
_FIGURES: tuple[tuple[str, str, Callable[[QueueBacklog], float]], ...] = (
    (
        "runnable_chunks",
        "Chunks that a free slot could begin with now.",
        lambda q: q.runnable_chunks,
    ),
    ("inflight_chunks", "Chunks in the hands of lanes.", lambda q: q.inflight_chunks),
    ("delayed_chunks", "Chunks that wait for a later time.", lambda q: q.delayed_chunks),
    ("rows_left", "Rows that are not carved yet, estimated.", lambda q: q.rows_left),
    ("chunk_seconds", "Mean seconds of a chunk of the backlog.", lambda q: q.chunk_seconds),
    ("backlog_seconds", "Seconds of work for one slot.", lambda q: q.backlog_seconds),
    (
        "oldest_waiting_seconds",
        "For how long the work that has waited longest has had no slot.",
        lambda q: q.oldest_waiting_seconds,
    ),
    ("rows_per_second", "Rows done a second, over the last ten.", lambda q: q.rows_per_second),
    ("lanes", "Lanes at work.", lambda q: q.lanes),
    ("desired_slots", "Slots that it takes to be done in time.", lambda q: q.desired_slots),
    ("late_runs", "Runs that miss their deadline with the lanes at work.", lambda q: q.late_runs),
)


class Collector:
    """Collects the figures of an application, for a registry of prometheus-client.

    Args:
        bulk: whose ledger is read.
    """

    def __init__(self, bulk: Breakbulk) -> None:
        self._bulk = bulk

    def describe(self) -> Iterator[Metric]:
        """Nothing, so that registering asks no database."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Look once. A ledger that does not answer is a figure, too, and no error."""
        up = GaugeMetricFamily("breakbulk_ledger_up", "Whether the ledger answers.")
        try:
            found = list(self._look())
        except (LedgerUnreachable, SchemaError):
            up.add_metric([], 0)
            yield up
            return
        up.add_metric([], 1)
        yield up
        yield from found

    def _look(self) -> Iterator[Metric]:
        backlog = self._bulk.backlog()
        places = sorted(self._bulk.places() | {(run.queue, run.job) for run in backlog.runs})
        parts: dict[tuple[str, str], list[RunBacklog]] = {place: [] for place in places}
        for run in backlog.runs:
            parts[run.queue, run.job].append(run)
        for name, text, figure in _FIGURES:
            gauge = GaugeMetricFamily(f"breakbulk_{name}", text, labels=["queue", "job"])
            for place, runs in parts.items():
                gauge.add_metric(place, figure(together(place[0], 0, runs)))
            yield gauge
        yield _runs(parts)
        slots = GaugeMetricFamily(
            "breakbulk_slots", "Slots of live workers that take work.", labels=["queue"]
        )
        for queue in backlog.queues:
            slots.add_metric([queue.queue], queue.slots)
        yield slots
        yield from self._workers()

    def _workers(self) -> Iterator[Metric]:
        every, live = self._bulk.workers(), self._bulk.live_workers()
        draining = sum(worker.draining for worker in live)
        workers = GaugeMetricFamily("breakbulk_workers", "Registered workers.", labels=["state"])
        workers.add_metric(["live"], len(live) - draining)
        workers.add_metric(["draining"], draining)
        workers.add_metric(["silent"], max(len(every) - len(live), 0))
        yield workers
        leader = GaugeMetricFamily("breakbulk_leader", "Whether a worker's steward leads.")
        leader.add_metric([], int(self._bulk.is_led()))
        yield leader


def _runs(parts: dict[tuple[str, str], list[RunBacklog]]) -> Metric:
    gauge = GaugeMetricFamily(
        "breakbulk_runs",
        "Runs that have not ended, by where they stand.",
        labels=["queue", "job", "status"],
    )
    for place, runs in parts.items():
        for status in sorted(ACTIVE):
            gauge.add_metric([*place, str(status)], sum(run.status is status for run in runs))
    return gauge


def exposition(bulk: Breakbulk) -> bytes:
    """All figures as Prometheus reads them."""
    registry = CollectorRegistry()
    registry.register(Collector(bulk))
    return generate_latest(registry)


def make_wsgi_app(bulk: Breakbulk) -> WSGIApplication:
    """A WSGI application that answers ``/metrics`` and nothing else, to whoever can reach it."""

    def application(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if environ.get("PATH_INFO", "").rstrip("/") not in {"", "/metrics"}:
            start("404 Not Found", [("Content-Type", "text/plain")])
            return [b"There is only /metrics here.\n"]
        if environ.get("REQUEST_METHOD") not in {"GET", "HEAD"}:
            start("405 Method Not Allowed", [("Content-Type", "text/plain"), ("Allow", "GET")])
            return [b"It can only be read.\n"]
        body = exposition(bulk)
        headers = [("Content-Type", CONTENT_TYPE_LATEST), ("Content-Length", str(len(body)))]
        start("200 OK", headers)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

    return application


CONTENT_TYPE = CONTENT_TYPE_LATEST
