"""``breakbulk watch``: follow a run, and let go of it without harm."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from breakbulk.cli.application import Application
from breakbulk.cli.options import json_option, run_argument, run_document, timeout_option
from breakbulk.console import exits, output, words
from breakbulk.domain.status import RunStatus
from breakbulk.errors import WaitTimeout

if TYPE_CHECKING:
    from breakbulk.app import RunHandle
    from breakbulk.domain.progress import Progress


@click.command
@run_argument
@timeout_option
@json_option
@click.pass_obj
def watch(application: Application, run_id: int, timeout: float | None, *, as_json: bool) -> None:
    """Follow RUN until it ends, or is paused or held.

    Progress goes to stderr: a live bar on a terminal, else a plain line every 2 s. The end goes to
    stdout, and the exit code tells it. With --json each line on stdout is an event. Ctrl-C lets go
    of the run, which goes on; the exit code is then 6.
    """
    handle = application.ledger.run(run_id)
    see_through(application, handle, show=True, timeout=timeout, as_json=as_json)


def see_through(
    application: Application,
    handle: RunHandle,
    *,
    show: bool,
    timeout: float | None,
    as_json: bool,
) -> None:
    """Stay with a run until it ends or comes to rest; end with its exit code."""
    context = click.get_current_context()
    try:
        progress = _followed(handle, show=show, timeout=timeout, as_json=as_json)
    except KeyboardInterrupt:
        output.warn(f"\nLet go of run {handle.id}; it goes on.")
        output.warn(f"Come back with: {application.hint('watch', handle.id)}")
        context.exit(exits.STILL_GOING)
    except WaitTimeout as error:
        # Its exit code is that of a run that still goes on.
        output.warn(f"{error} Come back with: {application.hint('watch', handle.id)}")
        context.exit(exits.STILL_GOING)
    record = handle.record()
    code = exits.exit_code_of(progress.status)
    if as_json:
        document = {
            "run": run_document(application.bulk, record),
            "progress": progress.as_dict(),
            "exit_code": code,
        }
        if show:
            output.event({"event": "ended" if code != exits.AT_REST else "at rest", **document})
        else:
            output.document(document)
    else:
        output.say(words.ending(record, progress))
    if progress.status is RunStatus.PAUSED or progress.status is RunStatus.HELD:
        output.warn(f"Go on with: {application.hint('resume', handle.id)}")
    elif progress.status in (RunStatus.PARTIAL, RunStatus.FAILED) and not as_json:
        output.warn(f"See what failed with: {application.hint('errors', handle.id)}")
    context.exit(code)


def _followed(handle: RunHandle, *, show: bool, timeout: float | None, as_json: bool) -> Progress:
    from breakbulk.console.views import Nothing, view_of
    from breakbulk.console.watching import follow

    run = handle.record()
    with view_of(run, as_json=as_json) if show else Nothing() as view:
        return follow(handle, view, timeout=timeout)
