"""``breakbulk backlog``: how much work is left, in seconds of work."""

from __future__ import annotations

import click

from breakbulk.cli.application import Application
from breakbulk.cli.options import json_option
from breakbulk.console import output, words
from breakbulk.domain.backlog import TARGET_SECONDS, Backlog, RunBacklog


@click.command(short_help="Show how much work is left, in seconds.")
@click.option("--queue", help="Only this Celery queue.")
@click.option(
    "--target",
    type=click.FloatRange(min=0, min_open=True, max=1e9),
    default=float(TARGET_SECONDS),
    show_default=True,
    metavar="SECONDS",
    help="Slots are desired so that work without a deadline is done within so many seconds.",
)
@json_option
@click.pass_obj
def backlog(application: Application, queue: str | None, target: float, *, as_json: bool) -> None:
    """Show how much work is left: by queue, and by run.

    In seconds of work for one slot, which is what the number of nodes should follow. The fields of
    --json are in the reference, "The backlog".
    """
    found = application.ledger.backlog(target)
    if queue is not None:
        runs = tuple(run for run in found.runs if run.queue == queue)
        found = Backlog(found.at, (found.of(queue),), runs)
    if as_json:
        output.document(found.as_dict())
        return
    output.table(
        ("queue", "slots", "lanes", "backlog", "chunks", "in hand", "later", "rows/s", "desired"),
        [
            (
                one.queue,
                one.slots,
                one.lanes,
                words.duration(one.backlog_seconds),
                words.number(one.runnable_chunks),
                words.number(one.inflight_chunks),
                words.number(one.delayed_chunks),
                words.number(one.rows_per_second),
                one.desired_slots,
            )
            for one in found.queues
        ],
    )
    if found.runs:
        output.say("")
        output.table(
            ("run", "status", "job", "backlog", "a chunk", "waited", "lanes", "desired", "end"),
            [_line(run) for run in found.runs],
        )


def _line(run: RunBacklog) -> tuple[object, ...]:
    return (
        run.run_id,
        run.status,
        run.job,
        words.duration(run.backlog_seconds),
        words.duration(run.chunk_seconds),
        words.duration(run.oldest_waiting_seconds) if run.oldest_waiting_seconds else "",
        run.lanes,
        run.desired_slots,
        _end(run),
    )


def _end(run: RunBacklog) -> str:
    if run.finish_by is None:
        return ""
    late = " (late with these lanes)" if run.late else ""
    return f"by {words.moment(run.finish_by)}{late}"
