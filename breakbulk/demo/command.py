"""The command ``breakbulk demo``."""

from __future__ import annotations

from pathlib import Path

import click
from click.core import ParameterSource

from breakbulk.demo.interrupts import Interrupts, Stopped
from breakbulk.errors import ConfigurationError

_MOST_FOLLOWERS = 4
_COUNT = click.IntRange(min=1)
_CODES = """\b
Exit codes:
  0  proven             4  cancelled                 130  Ctrl-C before the end
  1  a proof failed     5  paused or held
  2  usage              7  no database or broker
  3  partial            8  the run failed
"""


def _usable(context: click.Context, parameter: click.Parameter, url: str | None) -> str | None:
    """Complete a URL, or refuse it."""
    from breakbulk.demo.servers import checked_broker, checked_database

    if url is None:
        return None
    try:
        return checked_broker(url) if parameter.name == "broker" else checked_database(url)
    except ConfigurationError as error:
        raise click.BadParameter(str(error), context, parameter) from error


@click.command("demo", epilog=_CODES)
@click.option("--rows", type=_COUNT, default=1_000_000, show_default=True, help="Products.")
@click.option("--chunk-size", type=_COUNT, default=500, show_default=True, help="Products a chunk.")
@click.option(
    "--workers",
    type=_COUNT,
    default=2,
    show_default=True,
    help="Celery workers: each a `celery worker` with one process that works.",
)
@click.option(
    "--autoscale",
    is_flag=True,
    help="Begin with one worker, and let as many as --workers (4 unless given) follow the work.",
)
@click.option(
    "--record",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="With --autoscale: write what is seen and decided, as lines of JSON.",
)
@click.option(
    "--keep",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Keep the data in DIR; a demo that finds some there goes on with it.",
)
@click.option("--once", is_flag=True, help="End when the run has ended, also on a terminal.")
@click.option("--stay", is_flag=True, help="Serve the shop and stay up, also without a terminal.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON for each event.")
@click.option("--database", callback=_usable, metavar="URL", help="Use this database.")
@click.option("--broker", callback=_usable, metavar="URL", help="Use this broker.")
@click.pass_context
def demo(
    context: click.Context,
    *,
    rows: int,
    chunk_size: int,
    workers: int,
    autoscale: bool,
    record: Path | None,
    keep: Path | None,
    once: bool,
    stay: bool,
    as_json: bool,
    database: str | None,
    broker: str | None,
) -> None:
    """Process a warehouse of a million products before your eyes.

    Starts a PostgreSQL and a Valkey of its own, fills a warehouse with products named after
    Python packages, starts Celery workers, runs the job ProcessWarehouse, and proves in two ways
    that each product was processed exactly once. On a terminal, or with --stay, it also serves the
    shop, a page with a button that does it again and the dashboard, and everything stays up until
    Ctrl-C. Nothing is left behind, except where --keep and --database say so.
    """
    if once and stay:
        raise click.UsageError("Give either --once or --stay: one ends, the other does not.")
    if record is not None and not autoscale:
        raise click.UsageError("--record needs --autoscale: it writes what that decides.")
    if autoscale and context.get_parameter_source("workers") is ParameterSource.DEFAULT:
        workers = _MOST_FOLLOWERS
    # Before anything else is imported or started, so that a Ctrl-C is never too early.
    with Interrupts() as interrupts:
        try:
            from breakbulk.demo.screen import Screen
            from breakbulk.demo.show import Options, show

            options = Options(
                rows, chunk_size, workers, keep, once, database, broker, autoscale, record
            )
            code = show(options, Screen(as_json=as_json, stay=stay), interrupts)
        except Stopped as stopped:
            code = stopped.exit_code
    context.exit(code)
