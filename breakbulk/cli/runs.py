"""``breakbulk runs`` and ``breakbulk status``: looking at runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from breakbulk.cli.application import Application
from breakbulk.cli.options import (
    ID,
    json_option,
    limit_option,
    run_argument,
    run_document,
    status_option,
)
from breakbulk.console import exits, output, words
from breakbulk.domain.status import RunStatus

if TYPE_CHECKING:
    from breakbulk.domain.progress import Progress
    from breakbulk.domain.run import Run
    from breakbulk.domain.sizing import SizeReport

_FAILURES = 5


@click.command
@click.option("--job", help="Only runs of this job.")
@status_option(RunStatus)
@limit_option(20)
@click.option("--before", type=ID, metavar="RUN", help="Only older ones.")
@json_option
@click.pass_obj
def runs(
    application: Application,
    job: str | None,
    statuses: list[RunStatus] | None,
    limit: int,
    before: int | None,
    *,
    as_json: bool,
) -> None:
    """List runs, newest first."""
    bulk = application.ledger
    found = bulk.runs(job=job, statuses=statuses, before=before, limit=limit)
    # The page may be full by chance; then the next one is empty, which harms nobody.
    following = found[-1].id if len(found) == limit else None
    if as_json:
        output.document({"runs": [run_document(bulk, run) for run in found], "before": following})
        return
    if not found:
        narrowed = job or statuses or before
        start = f" Start one with: {application.hint('run', 'JOB')}"
        output.say("No run is like that." if narrowed else f"There are no runs yet.{start}")
        return
    output.table(
        ("run", "status", "job", "submitted", "rows", "reason"),
        [
            (
                run.id,
                run.status,
                words.call(run.job, bulk.shown_parameters(run)),
                words.moment(run.submitted_at),
                _rows(run),
                run.reason,
            )
            for run in found
        ],
    )
    if following is not None:
        output.warn(f"Older ones: {application.hint('runs', '--before', following)}")


@click.command
@run_argument
@click.option("--exit-code", is_flag=True, help="Exit with the run's code: 6 while it goes on.")
@json_option
@click.pass_obj
def status(application: Application, run_id: int, *, exit_code: bool, as_json: bool) -> None:
    """Show how RUN is doing. Looking succeeds, so this exits with 0 unless --exit-code."""
    bulk = application.ledger
    handle = bulk.run(run_id)
    run, progress, failures = handle.record(), handle.progress(), handle.failures(_FAILURES)
    if as_json:
        output.document(
            {
                "run": run_document(bulk, run),
                "progress": progress.as_dict(),
                "failures": [failure.as_dict() for failure in failures],
                "sizes": [size.as_dict() for size in handle.sizes()],
                "activity": [one.as_dict() for one in handle.activity()],
            }
        )
    else:
        output.say(f"Run {run.id}: {words.call(run.job, bulk.shown_parameters(run))}")
        output.fields(_fields(run, progress, handle.sizes(1)))
        for failure in failures:
            where = run.nouns.callback
            if failure.chunk is not None:
                where = f"{run.nouns.chunk} {failure.chunk}"
            output.say(
                f"  failed: {where}, attempt"
                f" {failure.attempt}, {words.moment(failure.at)}: {failure.error}:"
                f" {failure.message.partition(chr(10))[0]}"
            )
    if exit_code:
        click.get_current_context().exit(exits.exit_code_of(run.status))


def _size(run: Run, sizes: list[SizeReport]) -> str:
    """Where chunks size themselves: how, how large they are now and why."""
    if run.chunk_seconds is None:
        return ""
    now = f"; now {words.counted(sizes[0].rows, 'row')}: {sizes[0].detail}" if sizes else ""
    return f"{run.size}{now}"


def _rows(run: Run) -> str:
    if run.summary is not None:
        return words.number(run.summary.rows_done)
    return "" if run.rows_estimate is None else f"≈ {words.number(run.rows_estimate)}"


def _fields(run: Run, progress: Progress, sizes: list[SizeReport]) -> dict[str, str]:
    going = progress.status is RunStatus.RUNNING
    troubles = words.troubles(progress)
    rows = f"{words.rows(progress)} ({words.percent(progress)})"
    chunks = ", ".join(filter(None, (words.chunks(progress), troubles)))
    if run.nouns.alike:
        rows, chunks = ", ".join(filter(None, (rows, troubles))), ""
    return {
        "status": words.status(progress),
        f"{run.nouns.row}s": rows,
        "rate": f"{words.number(progress.rate)} {run.nouns.row}s/s" if going else "",
        "left": words.left(progress).removesuffix(" left"),
        "chunks": chunks,
        "size": _size(run, sizes),
        "lanes": words.number(progress.lanes) if going else "",
        "limits": ", ".join(run.throttle.words()),
        "queue": run.queue,
        "submitted": f"{words.moment(run.submitted_at)} by {run.submitted_by or 'unknown'}",
        "started": words.moment(run.started_at),
        "end by": words.moment(run.finish_by),
        "ended": words.moment(run.finished_at),
        "took": words.took(progress) if run.finished_at else "",
        "promise": run.promise if run.at_least_once else "",
    }
