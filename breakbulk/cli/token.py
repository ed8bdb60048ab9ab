"""``breakbulk token``: what machines show to the REST API."""

from __future__ import annotations

import re
from datetime import timedelta

import click

from breakbulk.cli.application import Application
from breakbulk.cli.options import json_option
from breakbulk.console import output, words

_UNITS = {"h": "hours", "d": "days", "w": "weeks"}
_LIFE = re.compile(r"([1-9]\d{0,5})([hdw])")


def _lasts(_ctx: click.Context, _param: click.Parameter, given: str | None) -> timedelta | None:
    if given is None:
        return None
    found = _LIFE.fullmatch(given)
    if found is None:
        raise click.BadParameter(f"{given!r} is no time as in 12h, 90d or 8w.")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


@click.group
def token() -> None:
    """Make, list and revoke tokens, by which machines are known to the REST API."""


@token.command
@click.argument("name")
@click.option(
    "--can",
    type=click.Choice(["view", "operate"]),
    default="view",
    show_default=True,
    help="view looks; operate starts, pauses, cancels and retries, too.",
)
@click.option(
    "--expires",
    "lasts",
    metavar="TIME",
    callback=_lasts,
    help="How long it may be used, as in 12h, 90d or 8w; for ever unless given.",
)
@json_option
@click.pass_obj
def create(
    application: Application, name: str, can: str, lasts: timedelta | None, *, as_json: bool
) -> None:
    """Make a token called NAME and print it. It cannot be shown again."""
    made = application.ledger.tokens.create(name, can=can, lasts=lasts)
    if as_json:
        output.document({**made.token.as_dict(), "token": made.text})
        return
    output.say(made.text)
    until = words.moment(made.token.expires_at) or "it is revoked"
    output.warn(f"{name} can {can} until {until}. Keep it now: it cannot be shown again.")


@token.command("list")
@json_option
@click.pass_obj
def listed(application: Application, *, as_json: bool) -> None:
    """List all tokens that were ever made, newest first; never what is secret."""
    found = application.ledger.tokens.all()
    if as_json:
        output.document({"tokens": [one.as_dict() for one in found]})
        return
    if not found:
        output.say(
            f"There are no tokens yet. Make one with: {application.hint('token', 'create', 'NAME')}"
        )
        return
    output.table(
        ("name", "can", "made", "by", "expires", "last used", "revoked"),
        [
            (
                one.name,
                one.can,
                words.moment(one.created_at),
                one.created_by,
                words.moment(one.expires_at),
                words.moment(one.last_used_at),
                words.moment(one.revoked_at),
            )
            for one in found
        ],
    )


@token.command
@click.argument("name")
@json_option
@click.pass_obj
def revoke(application: Application, name: str, *, as_json: bool) -> None:
    """Let nobody in with the token called NAME any more, from now on."""
    gone = application.ledger.tokens.revoke(name)
    if as_json:
        output.document(gone.as_dict())
    else:
        output.say(f"The token {name} is revoked: nobody is let in with it any more.")
