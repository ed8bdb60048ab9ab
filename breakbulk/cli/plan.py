"""``breakbulk plan``: what a run would do, without doing it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import click

from breakbulk.cli.application import Application
from breakbulk.cli.options import json_option, parameters_option, size_options
from breakbulk.console import output, words


@click.command
@click.argument("job")
@parameters_option
@click.option("--queue", help="Celery queue, instead of the job's.")
@size_options
@json_option
@click.pass_obj
def plan(
    application: Application,
    job: str,
    parameters: dict[str, Any],
    queue: str | None,
    *,
    chunk_size: int | Literal["auto"] | None,
    chunk_seconds: float | None,
    as_json: bool,
) -> None:
    """Show what running JOB would do. Nothing is written."""
    bulk = application.bulk
    found = bulk.plan(
        bulk.build(job, parameters),
        queue=queue,
        chunk_size=chunk_size,
        chunk_seconds=chunk_seconds,
    )
    if as_json:
        output.document(found.as_dict())
        return
    output.say(words.call(found.job, found.parameters))
    output.fields(
        {
            "rows": _estimate(found.rows_estimate),
            "chunks": f"{_estimate(found.chunks_estimate)} of {found.size}",
            "key": ", ".join(found.key_names),
            "first chunk": words.first_chunk(found.first, found.last_key, found.rows_estimate),
            "walked to": words.walked_to(found.last_key, found.rows_estimate),
            "sample keys": " ".join(found.sample),
            "queue": found.queue,
        }
    )
    again = [*_given(parameters, found.parameters)]
    given = {"queue": queue, "chunk-size": chunk_size, "chunk-seconds": chunk_seconds}
    for name, value in given.items():
        again += [] if value is None else [f"--{name}", str(value)]
    start = application.hint("run", found.job, *(shlex.quote(word) for word in again))
    output.warn(f"Nothing was written. Start it with: {start}")


def _given(parameters: Mapping[str, Any], shown: Mapping[str, Any]) -> Iterator[str]:
    """The parameters as they were typed, but for secrets."""
    for name, value in parameters.items():
        yield "-p"
        if shown.get(name) != value and shown.get(name) == "***":
            yield f"{name}=…"
        elif isinstance(value, str):
            yield f"{name}={value}"
        else:
            yield f"{name}:={json.dumps(value, ensure_ascii=False)}"


def _estimate(value: int | None) -> str:
    return "unknown" if value is None else f"≈ {words.number(value)}"
