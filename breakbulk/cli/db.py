"""``breakbulk db``: the ledger's tables."""

from __future__ import annotations

import click

from breakbulk.cli.application import Application
from breakbulk.cli.options import json_option
from breakbulk.console import output
from breakbulk.errors import SchemaError


@click.group
def db() -> None:
    """Create, upgrade and check the ledger's tables."""


@db.command
@click.option("--sql", is_flag=True, help="Only print the SQL, for a database administrator.")
@json_option
@click.pass_obj
def upgrade(application: Application, *, sql: bool, as_json: bool) -> None:
    """Create the tables, or bring them to this version."""
    bulk = application.bulk
    if sql:
        text = bulk.upgrade_sql()
        if as_json:
            output.document({"sql": text})
        else:
            output.say(text)
        return
    before, now = bulk.upgrade()
    if as_json:
        output.document({"before": before, "now": now, "changed": before != now})
    elif before == now:
        output.say(f"The ledger's tables are of version {now} already.")
    elif before is None:
        output.say(f"The ledger's tables are created, version {now}.")
    else:
        output.say(f"The ledger's tables are upgraded from version {before} to {now}.")


@db.command
@json_option
@click.pass_obj
def status(application: Application, *, as_json: bool) -> None:
    """Show the version of the tables; exits with 7 unless it is the one that is needed."""
    bulk = application.bulk
    found, needed = bulk.schema_version()
    if as_json:
        output.document({"found": found, "needed": needed, "fits": found == needed})
    elif found == needed:
        output.say(f"The ledger's tables are of version {found}, as needed.")
    if found != needed:
        try:
            bulk.check_schema()
        except SchemaError as error:
            if not as_json:
                raise
            click.get_current_context().exit(error.exit_code)
