"""``breakbulk healthcheck``: does the worker beside us live?"""

from __future__ import annotations

from pathlib import Path

import click

from breakbulk.cli.options import json_option
from breakbulk.console import exits, output
from breakbulk.nodes.heartbeat import HEARTBEAT_VARIABLE, LIVELY_SECONDS, silence_of


@click.command(short_help="Tell whether a worker lives, by its heartbeat.")
@click.argument("file", type=click.Path(path_type=Path), envvar=HEARTBEAT_VARIABLE)
@click.option(
    "--within",
    type=click.FloatRange(min=0, min_open=True),
    default=LIVELY_SECONDS,
    show_default=True,
    metavar="SECONDS",
    help="How long it may have been silent.",
)
@json_option
def healthcheck(file: Path, within: float, *, as_json: bool) -> None:
    """Tell whether the worker lives that touches FILE, as a probe of its container does.

    Start the worker with BREAKBULK_HEARTBEAT=FILE; the probe may leave FILE out where it has that
    variable, too. Neither the application nor the broker nor the database is asked, so a worker
    that is busy, or cut off from them, is alive. Exits with 1 when it is not.
    """
    silent = silence_of(file)
    alive = silent is not None and silent <= within
    if as_json:
        output.document({"alive": alive, "silent_seconds": silent, "within": within})
    elif silent is None:
        output.say(f"There is no heartbeat at {file}: the worker does not run, or not yet.")
    elif alive:
        output.say(f"The worker lives: heard from {silent:.1f} s ago.")
    else:
        output.say(f"The worker was silent for {silent:.1f} s, which is more than {within:g} s.")
    click.get_current_context().exit(exits.SUCCEEDED if alive else exits.ERROR)
