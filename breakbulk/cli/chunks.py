"""``breakbulk chunks``: a run's chunks, page by page."""

from __future__ import annotations

import re

import click

from breakbulk.cli.application import Application
from breakbulk.cli.options import json_option, limit_option, run_argument, status_option
from breakbulk.console import output
from breakbulk.domain.status import ChunkStatus

_NAME = re.compile(r"(\d+)(?:\.([01]+))?")


def _place(
    _ctx: click.Context, _param: click.Parameter, given: str | None
) -> tuple[int, str] | None:
    if given is None:
        return None
    matched = _NAME.fullmatch(given)
    if matched is None:
        raise click.BadParameter(f"{given!r} is not a chunk, as in 12, or 12.01 after a split.")
    return int(matched[1]), matched[2] or ""


@click.command
@run_argument
@status_option(ChunkStatus)
@limit_option(100)
@click.option("--after", metavar="CHUNK", callback=_place, help="Only those after this one.")
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
    names = [f"{chunk.number}{'.' + chunk.path if chunk.path else ''}" for chunk in found]
    following = names[-1] if len(names) == limit else None
    if as_json:
        output.document({"chunks": [chunk.as_dict() for chunk in found], "after": following})
        return
    output.table(
        ("chunk", "status", "rows", "after", "up to", "attempt", "losses", "lane", "seconds"),
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
