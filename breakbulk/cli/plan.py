"""``breakbulk plan``: what a run would do, without doing it."""

from __future__ import annotations

from typing import Any

import click

from breakbulk.cli.application import Application
from breakbulk.cli.options import json_option, parameters_option
from breakbulk.console import output, words


@click.command
@click.argument("job")
@parameters_option
@click.option("--queue", help="Celery queue, instead of the job's.")
@json_option
@click.pass_obj
def plan(
    application: Application,
    job: str,
    parameters: dict[str, Any],
    queue: str | None,
    *,
    as_json: bool,
) -> None:
    """Show what running JOB would do. Nothing is written."""
    bulk = application.bulk
    found = bulk.plan(bulk.build(job, parameters), queue=queue)
    if as_json:
        output.document(found.as_dict())
        return
    output.say(words.call(found.job, found.parameters))
    output.fields(
        {
            "rows": _estimate(found.rows_estimate),
            "chunks": f"{_estimate(found.chunks_estimate)} of {found.chunk_size} rows",
            "key": ", ".join(found.key_names),
            "first chunk": "" if found.first is None else _bounds(*found.first),
            "last key": found.last_key or _no_last_key(found.rows_estimate),
            "sample keys": " ".join(found.sample),
            "queue": found.queue,
        }
    )
    output.warn(f"Nothing was written. Start it with: {application.hint('run', found.job, '…')}")


def _estimate(value: int | None) -> str:
    return "unknown" if value is None else f"≈ {words.number(value)}"


def _no_last_key(rows: int | None) -> str:
    # An iterable can be read only once, and not for a plan.
    return "unknown until its items are read" if rows is None else "none: there are no rows"


def _bounds(after: str | None, upto: str) -> str:
    return f"after {after} up to {upto}" if after else f"up to {upto}"
