"""``breakbulk doctor``: is everything there that runs need?"""

from __future__ import annotations

import click

from breakbulk.cli.application import Application
from breakbulk.cli.options import json_option
from breakbulk.console import exits, output
from breakbulk.domain.finding import Finding, Severity


@click.command(short_help="Check database, broker, workers, settings.")
@json_option
@click.pass_obj
def doctor(application: Application, *, as_json: bool) -> None:
    """Look everything over: database, tables, broker, workers, runs, Celery's settings.

    Exits with 7 when there is no database, no broker or no fitting schema, with 1 at any other
    error. Warnings and notes are advice.
    """
    findings = application.bulk.doctor()
    code = _exit_code(findings)
    if as_json:
        output.document(
            {"findings": [finding.as_dict() for finding in findings], "exit_code": code}
        )
    else:
        for finding in findings:
            output.say(f"{finding.severity:<8}{finding.what}")
            if finding.remedy:
                output.say(f"{'':<8}→ {finding.remedy}")
        errors = sum(finding.severity is Severity.ERROR for finding in findings)
        warnings = sum(finding.severity is Severity.WARNING for finding in findings)
        output.say(f"Errors: {errors}. Warnings: {warnings}.")
    click.get_current_context().exit(code)


def _exit_code(findings: list[Finding]) -> int:
    if any(finding.foundational for finding in findings):
        return exits.NO_FOUNDATION
    if any(finding.severity is Severity.ERROR for finding in findings):
        return exits.ERROR
    return exits.SUCCEEDED
