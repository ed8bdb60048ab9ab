"""``breakbulk errors``: what failed in a run, and why."""

from __future__ import annotations

import csv
import sys
from typing import TYPE_CHECKING

import click

from breakbulk.cli.application import Application
from breakbulk.cli.options import ID, chunk_option, json_option, limit_option, run_argument
from breakbulk.console import output, words
from breakbulk.console.printable import printable
from breakbulk.domain.nouns import Nouns

if TYPE_CHECKING:
    from collections.abc import Iterator

    from breakbulk.app import RunHandle
    from breakbulk.domain.failed import FailureReport, QuarantinedRow

_PAGE = 1000
_COLUMNS = ("key", "error", "message", "place", "attempts", "round", "at", "chunk", "traceback")
# What a spreadsheet would take for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001  (full width)


@click.command
@run_argument
@click.option("--group", is_flag=True, help="Count failed attempts by exception and place.")
@click.option("--csv", "as_csv", is_flag=True, help="Print the whole quarantine as CSV.")
@chunk_option("--chunk", help="The attempts at this chunk, in full.")
@limit_option(20)
@click.option("--after", type=ID, help="Only those after this one: the next page.")
@json_option
@click.pass_obj
def errors(
    application: Application,
    run_id: int,
    chunk: tuple[int, str] | None,
    limit: int,
    after: int | None,
    *,
    group: bool,
    as_csv: bool,
    as_json: bool,
) -> None:
    """List the rows of RUN in quarantine; if there are none, its latest failed attempts."""
    if sum((group, as_csv, chunk is not None)) > 1:
        raise click.UsageError("Give only one of --group, --csv and --chunk.")
    if as_csv and as_json:
        raise click.UsageError("Give --csv or --json, not both.")
    handle = application.ledger.run(run_id)
    if as_csv:
        _export(handle)
    elif group:
        _groups(handle, as_json=as_json)
    elif chunk is not None:
        _attempts(handle, chunk, as_json=as_json)
    else:
        _list(application, handle, after or 0, limit, as_json=as_json)


def _list(
    application: Application, handle: RunHandle, after: int, limit: int, *, as_json: bool
) -> None:
    rows = handle.errors(after=after, limit=limit)
    following = rows[-1].id if len(rows) == limit else None
    failures = [] if rows or after else handle.failures(limit)
    if as_json:
        output.document(
            {
                "quarantine": [row.as_dict() for row in rows],
                "failures": [failure.as_dict() for failure in failures],
                "after": following,
            }
        )
        return
    nouns = handle.record().nouns
    if rows:
        output.table(
            ("key", "error", "message", "place", "tries", nouns.chunk),
            [
                (row.key, row.error, _first(row.message), row.place, row.attempts, row.chunk)
                for row in rows
            ],
        )
        if following is not None:
            more = application.hint("errors", handle.id, "--after", following)
            output.warn(f"More: {more}")
        output.warn(f"Try them again with: {application.hint('retry', handle.id)}")
    elif failures:
        output.say(f"No {nouns.row} is in quarantine. The latest failed attempts:")
        _failures(failures, nouns)
    else:
        output.say(f"Nothing has failed in run {handle.id}.")


def _groups(handle: RunHandle, *, as_json: bool) -> None:
    groups = handle.failure_groups()
    if as_json:
        output.document({"groups": [group.as_dict() for group in groups]})
        return
    if not groups:
        output.say(f"Nothing has failed in run {handle.id}.")
        return
    output.table(
        (
            "attempts",
            f"{handle.record().nouns.chunk}s",
            "error",
            "place",
            "first",
            "last",
            "latest message",
        ),
        [
            (
                group.attempts,
                group.chunks,
                group.error,
                group.place,
                words.moment(group.first_at),
                words.moment(group.last_at),
                _first(group.example),
            )
            for group in groups
        ],
    )


def _attempts(handle: RunHandle, chunk: tuple[int, str], *, as_json: bool) -> None:
    attempts = handle.failures(_PAGE, chunk=chunk)
    if as_json:
        output.document({"failures": [attempt.as_dict() for attempt in attempts]})
        return
    if not attempts:
        output.say(f"No attempt at this {handle.record().nouns.chunk} has failed.")
    for attempt in attempts:
        took = "" if attempt.seconds is None else f", after {words.duration(attempt.seconds)}"
        output.say(
            f"Round {attempt.round}, attempt {attempt.attempt}, {words.moment(attempt.at)}"
            f" on {attempt.worker or 'unknown'}{took}:"
        )
        output.say((attempt.traceback or f"{attempt.error}: {attempt.message}").rstrip())


def _failures(failures: list[FailureReport], nouns: Nouns) -> None:
    output.table(
        (nouns.chunk, "attempt", "when", "error", "message", "place"),
        [
            (
                failure.chunk or nouns.callback,
                failure.attempt,
                words.moment(failure.at),
                failure.error,
                _first(failure.message),
                failure.place,
            )
            for failure in failures
        ],
    )


def _export(handle: RunHandle) -> None:
    writer = csv.writer(sys.stdout)
    writer.writerow(_COLUMNS)
    for row in _all(handle):
        values = (
            row.key,
            row.error,
            row.message,
            row.place or "",
            row.attempts,
            row.round,
            row.at.isoformat(),
            row.chunk,
            row.traceback or "",
        )
        writer.writerow(_harmless(value) for value in values)


def _all(handle: RunHandle) -> Iterator[QuarantinedRow]:
    after = 0
    while page := handle.errors(after=after, limit=_PAGE):
        yield from page
        after = page[-1].id


def _harmless(value: object) -> object:
    if not isinstance(value, str):
        return value
    # https://owasp.org/www-community/attacks/CSV_Injection
    return printable(f"'{value}" if value.startswith(_FORMULA) else value)


def _first(message: str) -> str:
    return message.partition("\n")[0][:120]
