"""``breakbulk report``: a run as one HTML page."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import click

from breakbulk.cli.application import Application
from breakbulk.cli.options import run_argument
from breakbulk.cli.refusal import Refusal
from breakbulk.console import exits, output


@click.command
@run_argument
@click.option(
    "-o",
    "--output",
    "path",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    help="Where to write it; - for standard output.  [default: run-RUN.html]",
)
@click.pass_obj
def report(application: Application, run_id: int, path: Path | None) -> None:
    """Write everything about RUN into one HTML page that needs nothing else.

    Summary, pace, chunk map, failures with a traceback each, rows in quarantine, parameters
    (secrets are masked) and who did what: to be kept, mailed or printed.
    """
    if find_spec("jinja2") is None or find_spec("pyramid") is None:
        raise Refusal(
            "What draws it is not installed: pip install 'breakbulk[web]'.", exits.NO_FOUNDATION
        )
    from breakbulk.web.report import report as draw

    bulk = application.ledger
    page = draw(bulk, bulk.run(run_id))
    path = path or Path(f"run-{run_id}.html")
    if str(path) == "-":
        click.echo(page)
        return
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise Refusal(
            f"The report cannot be written to {path}: {error.strerror}.", exits.ERROR
        ) from error
    output.say(f"The report of run {run_id} is in {path}.")
