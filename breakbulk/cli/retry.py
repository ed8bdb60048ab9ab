"""``breakbulk retry`` and ``breakbulk finish``: trying again what failed."""

from __future__ import annotations

import click

from breakbulk.cli.application import Application
from breakbulk.cli.options import (
    chunk_option,
    json_option,
    reason_option,
    run_argument,
    timeout_option,
)
from breakbulk.cli.watch import see_through
from breakbulk.console import output, words

_EXAMPLES = """\b
Examples:
  breakbulk retry 12
  breakbulk retry 12 --error TimeoutError
  breakbulk retry 12 --key '[4711]' --watch
"""


@click.command(epilog=_EXAMPLES)
@run_argument
@click.option("--error", metavar="NAME", help="Only what failed with this exception.")
@chunk_option("--chunk", help="Only this chunk and what it was split into, as in 12 or 12.01.")
@click.option("--key", metavar="KEY", help="Only the row with this key, as 'errors' shows it.")
@reason_option
@click.option("--watch", is_flag=True, help="Follow the run until it ends.")
@timeout_option
@json_option
@click.pass_obj
def retry(
    application: Application,
    run_id: int,
    error: str | None,
    chunk: tuple[int, str] | None,
    key: str | None,
    *,
    reason: str | None,
    timeout: float | None,
    watch: bool,
    as_json: bool,
) -> None:
    """Try again what failed in RUN, in its next round. What has succeeded is not done again.

    The run's callback is called once more when the round has ended.
    """
    handle = application.ledger.run(run_id)
    retried = handle.retry(error=error, chunk=chunk, key=key, reason=reason)
    if as_json and not watch:
        output.document(retried.as_dict())
    elif as_json:
        output.event({"event": "retried", **retried.as_dict()})
    else:
        nouns = handle.record().nouns
        again = words.counted(retried.chunks, nouns.chunk)
        if not nouns.alike:
            again += f" with {words.counted(retried.rows, nouns.row)}"
        output.say(f"Run {run_id}, round {retried.round}: {again} to be tried again.")
    if watch:
        see_through(application, handle, show=True, timeout=timeout, as_json=as_json)
    elif not as_json:
        output.warn(f"Follow it with: {application.hint('watch', run_id)}")


@click.command
@run_argument
@reason_option
@json_option
@click.pass_obj
def finish(application: Application, run_id: int, reason: str | None, *, as_json: bool) -> None:
    """Call RUN back again, where finished() has failed for good. No chunk is touched."""
    status = application.ledger.run(run_id).finish(reason=reason)
    if as_json:
        output.document({"run": run_id, "status": str(status)})
        return
    output.say(f"Run {run_id} is {status}: its callback is due.")
    output.warn(f"Follow it with: {application.hint('watch', run_id)}")
