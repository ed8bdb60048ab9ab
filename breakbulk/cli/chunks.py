"""``breakbulk chunks``: a run's chunks, page by page."""

from __future__ import annotations

import click

from breakbulk.cli.application import Application
from breakbulk.cli.options import (
    chunk_option,
    json_option,
    limit_option,
    run_argument,
    status_option,
)
from breakbulk.console import output
from breakbulk.domain.status import ChunkStatus


@click.command
@run_argument
@status_option(ChunkStatus)
@limit_option(100)
@chunk_option("--after", help="Only those after this one.")
@json_option
@click.pass_obj
def chunks(
    application: Application,
    run_id: int,
    statuses: list[ChunkStatus] | None,
    limit: int,
    after: tuple[int, str] | None,
    *,
    as_json: bool,
) -> None:
    """List the chunks of RUN in the order of their keys."""
    found = application.ledger.run(run_id).chunks(statuses=statuses, after=after, limit=limit)
    names = [chunk.name for chunk in found]
    following = names[-1] if len(names) == limit else None
    if as_json:
        output.document({"chunks": [chunk.as_dict() for chunk in found], "after": following})
        return
    noun = application.ledger.run(run_id).record().nouns.chunk
    if not found:
        narrowed = statuses or after
        what = f"no {noun}s like that" if narrowed else f"no {noun}s yet"
        output.say(f"Run {run_id} has {what}.")
        return
    output.table(
        (noun, "status", "rows", "after", "up to", "attempt", "losses", "lane", "seconds"),
        [
            (
                name,
                chunk.status,
                chunk.rows,
                chunk.after or "start",
                chunk.upto,
                chunk.attempt,
                chunk.losses or "",
                chunk.lane,
                "" if chunk.seconds is None else f"{chunk.seconds:.3f}",
            )
            for name, chunk in zip(names, found, strict=True)
        ],
    )
    if following is not None:
        output.warn(f"More: {application.hint('chunks', run_id, '--after', following)}")
