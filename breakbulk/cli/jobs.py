"""``breakbulk jobs``: what can be run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from breakbulk.cli.application import Application
from breakbulk.cli.options import json_option
from breakbulk.console import output, words

if TYPE_CHECKING:
    from breakbulk.app import Breakbulk
    from breakbulk.jobs import JobSpec, Parameter


@click.command
@json_option
@click.pass_obj
def jobs(application: Application, *, as_json: bool) -> None:
    """List the jobs of the application, with their parameters."""
    bulk = application.bulk
    if as_json:
        output.document({"jobs": [_document(bulk, spec) for spec in bulk.jobs]})
        return
    if not list(bulk.jobs):
        output.say(
            "There are no jobs: declare one with @bulk.job in the module that -A names, or in one"
            " that Celery imports."
        )
    for spec in bulk.jobs:
        output.say(f"{spec.name}  {spec.doc}".rstrip())
        for parameter in spec.parameters.values():
            output.say(f"    -p {_described(parameter)}")
        lanes = (
            f", at most {words.counted(spec.options.max_lanes, 'lane')}"
            if spec.options.max_lanes
            else ""
        )
        output.say(f"    {spec.options.size} a chunk, queue {_queue(bulk, spec)}{lanes}")
        if spec.options.throttle:
            output.say(f"    holds back: {', '.join(spec.options.throttle.words())}")
    if not list(bulk.jobs):
        output.warn("There are no jobs: declare one with @bulk.job in a module that is imported.")


def _described(parameter: Parameter) -> str:
    kind = f"{parameter.name}: {parameter.type_name}"
    if parameter.required:
        return f"{kind} (required)"
    return f"{kind} = {_default(parameter)}"


def _default(parameter: Parameter) -> Any:
    return "***" if parameter.masked and parameter.default is not None else parameter.default


def _queue(bulk: Breakbulk, spec: JobSpec) -> str | None:
    return spec.options.queue if bulk.broker is None else bulk.broker.queue_for(spec.options.queue)


def _document(bulk: Breakbulk, spec: JobSpec) -> dict[str, Any]:
    return {
        "name": spec.name,
        "doc": spec.doc,
        "parameters": [
            {
                "name": parameter.name,
                "type": parameter.type_name,
                "required": parameter.required,
                "default": _default(parameter),
                "masked": parameter.masked,
            }
            for parameter in spec.parameters.values()
        ],
        "chunk_size": spec.options.chunk_size,
        "chunk_seconds": spec.options.chunk_seconds,
        **spec.options.policy.as_dict(),
        "max_lanes": spec.options.max_lanes,
        "throttle": spec.options.throttle.as_dict(),
        "queue": _queue(bulk, spec),
    }
