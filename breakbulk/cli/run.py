"""``breakbulk run``: submit a job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from breakbulk.cli.application import Application
from breakbulk.cli.limits import limit_options, limits_given
from breakbulk.cli.options import (
    json_option,
    parameters_option,
    run_document,
    size_options,
    start_options,
    timeout_option,
)
from breakbulk.cli.watch import see_through
from breakbulk.console import output, words
from breakbulk.console.loading import Loading
from breakbulk.domain.run import Run
from breakbulk.domain.status import RunStatus
from breakbulk.errors import BrokerUnreachable
from breakbulk.runner.limits import MOST_LANES

if TYPE_CHECKING:
    from breakbulk.app import Breakbulk

_EXAMPLES = """\b
Examples:
  breakbulk run ProcessWarehouse -p rate=1.05 --watch
  breakbulk run ProcessWarehouse --wait --timeout 3600 && echo all done
  breakbulk run ProcessWarehouse --idempotency-key nightly-2026-01-31
  breakbulk run ProcessWarehouse --chunk-size auto --chunk-seconds 0.5
  breakbulk run ProcessWarehouse --eta 2026-01-31T22:00Z
  breakbulk run ProcessWarehouse --max-replica-lag 10 --only '22:00-06:00 Europe/Berlin'
"""


@click.command(epilog=_EXAMPLES)
@click.argument("job")
@parameters_option
@click.option("--queue", help="Celery queue, instead of the job's.")
@click.option("--idempotency-key", metavar="KEY", help="A second run with it is the first one.")
@click.option(
    "--overlap",
    type=click.Choice(["refuse", "wait", "allow"]),
    default="refuse",
    show_default=True,
    help="When a run of the same job and parameters still goes on.",
)
@size_options
@start_options
@click.option(
    "--max-lanes", type=click.IntRange(1, MOST_LANES), metavar="N", help="Chunks at work at most."
)
@limit_options
@click.option("--watch", "mode", flag_value="watch", help="Show its progress until it ends.")
@click.option("--wait", "mode", flag_value="wait", help="Wait silently until it ends.")
@timeout_option
@json_option
@click.pass_obj
def run(
    application: Application,
    /,
    job: str,
    parameters: dict[str, Any],
    mode: str | None,
    timeout: float | None,
    *,
    as_json: bool,
    **options: Any,
) -> None:
    """Start a run of JOB.

    Returns at once unless --watch or --wait is given; then the exit code tells how the run ended.
    """
    if timeout is not None and mode is None:
        raise click.UsageError("--timeout needs --watch or --wait.")
    if options["countdown"] is not None and options["eta"] is not None:
        raise click.UsageError("Give either --countdown or --eta.")
    limits = limits_given(options)
    if options["max_lanes"] is None:
        del options["max_lanes"]
    bulk = application.ledger
    with Loading() as loading:
        handle = bulk.submit(bulk.build(job, parameters), loading=loading, **options, **limits)
    record = handle.record()
    document = {"run": run_document(bulk, record), "created": handle.created}
    if as_json and mode != "wait":
        # A program that watches gets a stream of events, this being the first.
        (output.event if mode else output.document)(
            {"event": "submitted", **document} if mode else document
        )
    if not as_json:
        output.say(_told(bulk, record, created=handle.created))
    if (worry := _worry(bulk, record)) is not None:
        output.warn(worry)
    if mode is not None:
        see_through(application, handle, show=mode == "watch", timeout=timeout, as_json=as_json)
    elif not as_json:
        output.warn(f"Watch it with: {application.hint('watch', record.id)}")


def _told(bulk: Breakbulk, run: Run, *, created: bool) -> str:
    name = f"Run {run.id} of {words.call(run.job, bulk.shown_parameters(run))}"
    reason = f" ({run.reason})" if run.reason else ""
    if not created:
        stands = f"it {words.stands(run.status)}{reason}"
        return f"{name} was submitted before with this idempotency key; {stands}."
    if run.status is RunStatus.HELD:
        return f"{name} is submitted{reason}."
    rows = "" if run.rows_estimate is None else f", ≈ {words.number(run.rows_estimate)} rows"
    start = "" if run.not_before is None else f"; it starts at {words.moment(run.not_before)}"
    return f"{name} is submitted{rows}{start}."


def _worry(bulk: Breakbulk, run: Run) -> str | None:
    """Why the run may not start at once; that is no error, for it is safe in the ledger."""
    broker = bulk.broker
    if broker is None or broker.eager or run.status is not RunStatus.RUNNING or run.not_before:
        return None
    try:
        broker.ping()
    except BrokerUnreachable:
        return (
            f"The broker does not answer. Run {run.id} is safe in the ledger and starts as soon"
            " as the broker or a worker is back."
        )
    workers = [worker for worker in bulk.live_workers() if not worker.draining]
    if not any(run.queue in worker.queues for worker in workers):
        return f"No worker consumes the queue {run.queue!r} now. Run {run.id} starts when one does."
    return None
