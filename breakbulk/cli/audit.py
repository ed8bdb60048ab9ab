"""``breakbulk audit``: prove that a run covered its rows exactly once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from breakbulk.cli.application import Application
from breakbulk.cli.options import json_option, run_argument
from breakbulk.console import exits, output, words
from breakbulk.domain.nouns import Nouns

if TYPE_CHECKING:
    from breakbulk.runner.audit import Audit


@click.command(short_help="Prove that RUN covered its rows once.")
@run_argument
@json_option
@click.pass_obj
def audit(application: Application, run_id: int, *, as_json: bool) -> None:
    """Prove from the ledger that the chunks of RUN cover its keys exactly once.

    Exits with 1 when something is wrong. Notes are no fault: the table went on living.
    """
    handle = application.ledger.run(run_id)
    found = handle.audit()
    if as_json:
        output.document(found.as_dict())
    else:
        for finding in found.findings:
            output.say(f"WRONG: {finding}.")
        for note in found.notes:
            output.say(f"note: {note}.")
        counted = found.counted
        nouns = handle.record().nouns
        covered = f"{words.amount(nouns, counted.rows_done, counted.chunks_done)} done"
        if found.clean:
            missing = _not_done(found, nouns)
            output.say(f"Run {found.run_id} is clean: {covered}, no gap and no overlap{missing}.")
        else:
            things = words.counted(len(found.findings), "thing")
            output.say(
                f"Run {found.run_id} has {things} wrong: {covered}{_not_done(found, nouns)}."
            )
    if not found.clean:
        click.get_current_context().exit(exits.ERROR)


def _not_done(found: Audit, nouns: Nouns) -> str:
    """What is covered and not done all the same: a clean run may have left rows behind."""
    quarantined = found.counted.rows_quarantined
    parts = (
        (quarantined, "in quarantine"),
        (found.rows_not_done - quarantined, f"of {nouns.chunk}s that were skipped or failed"),
    )
    return "".join(
        f"; {words.counted(rows, nouns.row)} {where} {'was' if rows == 1 else 'were'} not done"
        for rows, where in parts
        if rows > 0
    )
