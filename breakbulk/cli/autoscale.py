"""``breakbulk autoscale``: nodes that follow the work."""

from __future__ import annotations

import shlex
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from breakbulk.cli.application import Application
from breakbulk.cli.options import json_option
from breakbulk.console import output
from breakbulk.domain.backlog import TARGET_SECONDS
from breakbulk.domain.scaling import Limits

if TYPE_CHECKING:
    from breakbulk.app import Breakbulk
    from breakbulk.autoscale import Controller, Provider, Turn
    from breakbulk.autoscale.processes import Processes

_EXAMPLES = """\b
Examples:
  celery -A shop breakbulk autoscale --min 1 --max 4
  breakbulk autoscale --worker 'celery -A shop worker -c 2' --slots-per-node 2 --max 8
  breakbulk autoscale --provider asg --group workers --min 0 --max 20 --slots-per-node 4
  breakbulk autoscale --provider cloudwatch --queue celery --once
"""
_SECONDS = click.FloatRange(min=0, max=1e9)
#: What a node takes to start: a process, and a machine.
_START_SECONDS = {"processes": 15.0, "asg": 180.0, "cloudwatch": 0.0}


@click.command(short_help="Start and stop workers as the work demands.", epilog=_EXAMPLES)
@click.option(
    "--provider",
    "kind",
    type=click.Choice(["processes", "asg", "cloudwatch"]),
    default="processes",
    show_default=True,
    help="Where nodes come from: worker processes on this machine, an EC2 Auto Scaling group, or"
    " nowhere: then the signal is published for AWS' own scaling.",
)
@click.option("--queue", "queues", multiple=True, help="Whose work they do; default the jobs'.")
@click.option("--min", "minimum", type=click.IntRange(0, 10_000), default=1, show_default=True)
@click.option("--max", "maximum", type=click.IntRange(1, 10_000), default=4, show_default=True)
@click.option(
    "--slots-per-node",
    "slots",
    type=click.IntRange(1, 10_000),
    default=1,
    show_default=True,
    help="How many lanes a node has room for: its worker's --concurrency.",
)
@click.option(
    "--target",
    "target_seconds",
    type=click.FloatRange(min=0, min_open=True, max=1e9),
    default=float(TARGET_SECONDS),
    show_default=True,
    metavar="SECONDS",
    help="Work without a deadline should be done within so many seconds.",
)
@click.option(
    "--scale-out-cooldown",
    "out_cooldown",
    type=_SECONDS,
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="From one step up to the next.",
)
@click.option(
    "--scale-in-cooldown",
    "in_cooldown",
    type=_SECONDS,
    default=300.0,
    show_default=True,
    metavar="SECONDS",
    help="For so long fewer nodes must have been enough.",
)
@click.option(
    "--start-seconds",
    type=_SECONDS,
    metavar="SECONDS",
    help="What a node takes to start.  [default: 15; of an Auto Scaling group, 180]",
)
@click.option(
    "--interval",
    type=click.FloatRange(min=0.1, max=3600),
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="From one look to the next.",
)
@click.option("--once", is_flag=True, help="Look and act once, for cron.")
@click.option("--dry-run", is_flag=True, help="Show what would be done, and why; do nothing.")
@click.option(
    "--worker", metavar="COMMAND", help="Starts a worker process.  [default: of the application]"
)
@click.option(
    "--logs",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Where worker processes write what they say.",
)
@click.option(
    "--on-exit",
    type=click.Choice(["leave", "drain"]),
    default="leave",
    show_default=True,
    help="At SIGTERM or Ctrl-C, let worker processes go on, to be taken up by the next autoscale,"
    " or end them after the chunks in hand.",
)
@click.option("--group", metavar="NAME", help="The Auto Scaling group.")
@click.option("--region", metavar="NAME", help="Of AWS.  [default: as boto3 finds it]")
@click.option(
    "--namespace",
    default="Breakbulk",
    show_default=True,
    metavar="NAME",
    help="Of the CloudWatch metrics.",
)
@json_option
@click.pass_obj
def autoscale(
    application: Application,
    /,
    kind: str,
    queues: tuple[str, ...],
    interval: float,
    start_seconds: float | None,
    *,
    once: bool,
    dry_run: bool,
    on_exit: str,
    as_json: bool,
    worker: str | None,
    logs: Path | None,
    group: str | None,
    region: str | None,
    namespace: str,
    **given: Any,
) -> None:
    """Start and stop nodes, each with a worker, so that the work is done in time.

    One controller at a time looks after a group of nodes; what it knows is in the ledger, so it may
    be stopped and started again at any time. Its decisions are in the activity of the runs.
    """
    from breakbulk.autoscale import Controller
    from breakbulk.autoscale.looping import loop

    bulk = application.ledger
    # By its queues a group is known: not by what happens to be in the ledger at this moment.
    declared = {queue for queue, _ in bulk.places()}
    chosen = sorted(set(queues) or declared or {one.queue for one in bulk.backlog().queues})
    start = _START_SECONDS[kind] if start_seconds is None else start_seconds
    limits = Limits(start_seconds=start, **given)
    provider: Provider
    if kind == "processes":
        command = shlex.split(worker) if worker else _worker(application, chosen, limits.slots)
        mark = f"workers of {', '.join(chosen)} for ledger {bulk.scaling.place}"
        provider = processes = _processes(command, mark, logs)
    else:
        aws = _Aws(kind, group, region, namespace)
        provider, processes = _of_aws(aws, chosen, limits), None
    controller = Controller(
        bulk, provider, limits, queues=chosen, interval=interval, dry_run=dry_run
    )
    tell = _Told(as_json=as_json, once=once)
    if once:
        tell(controller.turn())
        controller.resign()
        return
    with _stopping() as stop:
        try:
            loop(controller, stop, interval, tell, output.warn)
        finally:
            _leave(controller, bulk)
    if processes is not None and not dry_run:
        if on_exit == "drain":
            output.warn("Waiting for the chunks in hand ...")
            processes.drain()
        elif (left := processes.size()) and not as_json:
            output.warn(f"Workers that go on: {left}. The next autoscale takes them up.")


class _Told:
    """Says what is new: each change, and each new reason once; programs are told of each turn."""

    def __init__(self, *, as_json: bool, once: bool) -> None:
        self._as_json = as_json
        self._once = once
        self._last: tuple[object, ...] = ()

    def __call__(self, turn: Turn) -> None:
        if self._as_json:
            output.event({"event": "turn", **turn.as_dict()})
            return
        if turn.signal:
            parts = (
                f"{one.queue}: {one.backlog_seconds:.0f} s of work, {one.desired_slots} slots"
                f" wanted, {one.slots} there"
                for one in turn.signal
            )
            sentence = f"{'; '.join(parts)}."
            self._say(sentence, _words(sentence))
            return
        if turn.decision is None:
            self._say(
                "Another controller looks after this group"
                + (": nothing was done." if self._once else "; waiting for it to end.")
            )
            return
        decision = turn.decision
        for run, why in decision.late:
            output.warn(f"Run {run}: {why}.")
        if decision.nodes != decision.before:
            self._last = ()
            self._say(f"{decision.verb}, {decision.before} to {decision.nodes}: {decision.reason}.")
            return
        # Seconds that pass are no news.
        self._say(
            f"{decision.nodes} nodes: {decision.reason}.", decision.nodes, _words(decision.reason)
        )

    def _say(self, sentence: str, *key: object) -> None:
        if (key or (sentence,)) != self._last:
            self._last = key or (sentence,)
            output.say(sentence)


def _words(sentence: str) -> str:
    return "".join(letter for letter in sentence if not letter.isdigit())


def _leave(controller: Controller, bulk: Breakbulk) -> None:
    from breakbulk.errors import LedgerUnreachable

    try:
        controller.resign()
    except LedgerUnreachable:
        # Its lease ends by itself.
        bulk.runtime.database.dispose()


@contextmanager
def _stopping() -> Iterator[threading.Event]:
    """Set by SIGTERM and Ctrl-C; the turn in hand is ended first."""
    stop = threading.Event()
    signals = (signal.SIGTERM, signal.SIGINT)
    before: dict[int, Any] = {one: signal.signal(one, lambda *_: stop.set()) for one in signals}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _processes(command: list[str], mark: str, logs: Path | None) -> Processes:
    from breakbulk.autoscale.processes import Processes

    return Processes(command, group=mark, logs=logs)


@dataclass(frozen=True, slots=True)
class _Aws:
    kind: str
    group: str | None
    region: str | None
    namespace: str


def _of_aws(aws: _Aws, queues: list[str], limits: Limits) -> Provider:
    from breakbulk.autoscale.cloudwatch import Metrics, Published

    metrics = Metrics(region=aws.region, namespace=aws.namespace)
    if aws.kind == "cloudwatch":
        return Published(metrics, group=f"cloudwatch {aws.namespace} {', '.join(queues)}")
    if aws.group is None:
        raise click.UsageError("--provider asg needs --group, the Auto Scaling group's name.")
    from breakbulk.autoscale.asg import Instances

    instances = Instances(aws.group, region=aws.region, metrics=metrics)
    instances.check(limits)
    return instances


def _worker(application: Application, queues: list[str], slots: int) -> list[str]:
    """A worker of the application, as Celery's command line starts it."""
    address = application.celery_address()
    if address is None:
        raise click.UsageError(
            "Say by --worker how a worker is started, as in --worker 'celery -A shop worker -c 1'."
        )
    celery = [sys.executable, "-m", "celery", "-A", address, "worker"]
    return [*celery, "--concurrency", str(slots), "--queues", ",".join(queues), "-l", "INFO"]
