"""``breakbulk prune``: taking old runs out of the ledger."""

from __future__ import annotations

import sys
from datetime import timedelta

import click

from breakbulk.cli.application import Application
from breakbulk.cli.options import age_option, json_option
from breakbulk.console import output, words
from breakbulk.domain.status import FINISHED, RunStatus
from breakbulk.runner.prune import Pruned

_EXAMPLES = """\b
Examples:
  breakbulk prune --older-than 30d --dry-run
  breakbulk prune --older-than 30d --yes
  breakbulk prune --older-than 12h --job NightlyPrices --status succeeded --yes
  breakbulk prune 12 13
"""


@click.command(epilog=_EXAMPLES)
@click.argument("run_ids", metavar="[RUN]...", type=int, nargs=-1)
@age_option("--older-than", help="All runs that ended so long ago, as in 30d, 12h or 90min.")
@click.option("--job", help="Of these only runs of this job.")
@click.option(
    "--status",
    "statuses",
    multiple=True,
    type=click.Choice([str(status) for status in RunStatus if status in FINISHED]),
    help="Of these only runs that ended like this; may be given several times.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be pruned.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@click.pass_obj
def prune(
    application: Application,
    run_ids: tuple[int, ...],
    older_than: timedelta | None,
    job: str | None,
    statuses: tuple[str, ...],
    *,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Take runs that have ended out of the ledger, with all that it knows of them.

    What they did to your tables stays done. A pruned run cannot be looked at, retried or audited
    any more, and its idempotency key is free again. Asks before it begins, unless --yes.
    """
    if bool(run_ids) == (older_than is not None):
        raise click.UsageError("Give runs by their numbers, or --older-than for all old ones.")
    if run_ids and (job or statuses or dry_run):
        raise click.UsageError("--job, --status and --dry-run go with --older-than.")
    bulk = application.ledger
    if older_than is None:
        handles = [bulk.run(run_id) for run_id in dict.fromkeys(run_ids)]
        _ask(f"Prune {_listed([handle.id for handle in handles])}?", yes=yes)
        told = [handle.prune() for handle in handles]
    else:
        wanted = [RunStatus(status) for status in statuses] or None
        if not (dry_run or yes):
            would = bulk.prune(older_than, job=job, statuses=wanted, dry_run=True)
            if any(one.kept is None for one in would):
                _ask(f"Prune {_counted(would)}?", yes=False)
        told = bulk.prune(older_than, job=job, statuses=wanted, dry_run=dry_run)
    if as_json:
        output.document({"dry_run": dry_run, "runs": [one.as_dict() for one in told]})
        return
    for one in told:
        if one.kept is not None:
            output.warn(f"Run {one.run} {'would be' if dry_run else 'was'} left: {one.kept}.")
    if not told:
        output.say("No run that is like this ended that long ago.")
        return
    output.say(f"{'Would prune' if dry_run else 'Pruned'} {_counted(told)}.")


def _counted(told: list[Pruned]) -> str:
    gone = [one for one in told if one.kept is None]
    chunks = words.counted(sum(one.chunks for one in gone), "chunk")
    return f"{words.counted(len(gone), 'run')} with {chunks}"


def _listed(run_ids: list[int]) -> str:
    numbers = ", ".join(map(str, run_ids))
    return f"run {numbers}" if len(run_ids) == 1 else f"runs {numbers}"


def _ask(question: str, *, yes: bool) -> None:
    """Go on only if somebody says so."""
    if yes:
        return
    if not output.is_terminal(sys.stdin):
        raise click.UsageError(
            "Nobody is there to be asked: add --yes, or --dry-run to look first."
        )
    click.confirm(question, abort=True, err=True)
