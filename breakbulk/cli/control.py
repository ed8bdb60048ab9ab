"""``breakbulk pause``, ``resume``, ``cancel`` and ``lanes``: steering a run."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import click

from breakbulk.cli.application import Application
from breakbulk.cli.options import json_option, reason_option, run_argument
from breakbulk.console import output, words
from breakbulk.domain.status import RunStatus
from breakbulk.runner.limits import MOST_LANES

#: Seconds after which somebody who waits wants to know for what.
_PATIENCE = 2.0
_DIGITS = 9

#: What a status that was reached means to whoever asked for it.
_MEANS = {
    RunStatus.PAUSING: "what is in hand ends first, nothing else is started",
    RunStatus.PAUSED: "nothing of it is at work",
    RunStatus.RUNNING: "its lanes are asked for",
    RunStatus.CANCELLING: "what is in hand ends first, nothing else is started",
    RunStatus.FINISHING: "its callback is due",
    RunStatus.CANCELLED: "what it has done stays done",
}


@click.command
@run_argument
@reason_option
@json_option
@click.pass_obj
def pause(application: Application, run_id: int, reason: str | None, *, as_json: bool) -> None:
    """Let the chunks in hand end and start no others."""
    _tell(run_id, application.ledger.run(run_id).pause(reason=reason), as_json=as_json)
    if not as_json:
        output.warn(f"Go on with: {application.hint('resume', run_id)}")


@click.command
@run_argument
@reason_option
@json_option
@click.pass_obj
def resume(application: Application, run_id: int, reason: str | None, *, as_json: bool) -> None:
    """Go on with a run that is paused or held."""
    _tell(run_id, application.ledger.run(run_id).resume(reason=reason), as_json=as_json)


@click.command
@run_argument
@reason_option
@click.option("--force", is_flag=True, help="End the chunks in hand, too; their work is undone.")
@json_option
@click.pass_obj
def cancel(
    application: Application, run_id: int, reason: str | None, *, force: bool, as_json: bool
) -> None:
    """End a run for good after the chunks in hand. What is done stays done."""
    run = application.ledger.run(run_id)
    with _says_what_it_waits_for(application):
        status = run.cancel(reason=reason, force=force)
    _tell(run_id, status, as_json=as_json)


def _most(_ctx: click.Context, _param: click.Parameter, given: str) -> int | None:
    """A number of lanes; None for all that there are slots for."""
    if given == "all":
        return None
    if not (given.isascii() and given.isdecimal() and 1 <= int(given[:_DIGITS]) <= MOST_LANES):
        raise click.BadParameter(f"{given!r} is neither 'all' nor a number from 1 to {MOST_LANES}.")
    return int(given)


@click.command
@run_argument
@click.argument("most", metavar="N|all", callback=_most)
@json_option
@click.pass_obj
def lanes(application: Application, run_id: int, most: int | None, *, as_json: bool) -> None:
    """Let RUN have at most N lanes, or as many as workers have slots.

    More are asked for at once; those that are too many end after the chunk in hand.
    """
    application.ledger.run(run_id).limit_lanes(most)
    if as_json:
        output.document({"run": run_id, "max_lanes": most})
        return
    may = "as many lanes as workers have slots" if most is None else words.counted(most, "lane")
    output.say(f"Run {run_id} may have {may} from now on.")


@contextmanager
def _says_what_it_waits_for(application: Application) -> Iterator[None]:
    """On SQLite it is our turn only when the chunk in hand has ended, which may be what hangs."""

    def say() -> None:
        pid = application.bulk.runtime.database.writer()
        if pid is not None:
            output.warn(
                f"Waiting for process {pid}, which holds SQLite's only writer, to end its chunk:"
                " its chunk_timeout ends it in the prefork pool; or kill it."
            )

    timer = threading.Timer(_PATIENCE, say)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _tell(run_id: int, status: RunStatus, *, as_json: bool) -> None:
    if as_json:
        output.document({"run": run_id, "status": str(status)})
        return
    means = f": {_MEANS[status]}" if status in _MEANS else ""
    output.say(f"Run {run_id} is {status}{means}.")
