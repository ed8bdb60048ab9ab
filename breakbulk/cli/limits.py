"""``breakbulk limit``, and the limits of ``breakbulk run``: what a run holds back on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import click

from breakbulk.cli.application import Application
from breakbulk.cli.options import json_option, run_argument
from breakbulk.console import output
from breakbulk.domain.throttle import OPTIONS, ThrottleOptions, check

Function = TypeVar("Function", bound=Callable[..., Any])

#: What takes a limit away.
_NONE = "none"
_HELP = {
    "max_replica_lag": ("SECONDS", "Work only while no replica is further behind."),
    "max_lock_waits": ("N", "Work only while no more sessions wait for locks."),
    "throttle_on": ("SQL", "Work only while this gives NULL, false or no row."),
    "only": ("HOURS", "Work only then, as in 'Mon-Fri 22:00-06:00 Europe/Berlin'."),
    "max_rows_per_second": ("N", "Of all lanes together."),
}
_EXAMPLES = """\b
Examples:
  breakbulk limit 12 --max-rows-per-second 500
  breakbulk limit 12 --only '22:00-06:00 Europe/Berlin' --max-replica-lag none
"""


def limit_options(function: Function) -> Function:
    """What a run holds back on; ``none`` takes one away."""
    for name in reversed(OPTIONS):
        metavar, text = _HELP[name]
        function = click.option(
            f"--{name.replace('_', '-')}",
            metavar=f"{metavar}|{_NONE}",
            callback=_value,
            help=text,
        )(function)
    return function


def limits_given(options: dict[str, Any]) -> ThrottleOptions:
    """Take those that were given out of a verb's options."""
    given = {name: options.pop(name) for name in OPTIONS}
    chosen = {name: value[0] for name, value in given.items() if value is not None}
    return cast("ThrottleOptions", chosen)


def _value(_ctx: click.Context, param: click.Parameter, given: str | None) -> tuple[Any] | None:
    """A limit in a tuple of its own; None where none was given."""
    if given is None:
        return None
    if given == _NONE:
        return (None,)
    name = str(param.name)
    try:
        value = _number(name, given)
        check(name, value)
    except ValueError as error:
        raise click.BadParameter(f"{given!r} must be {error}, or {_NONE!r}.") from None
    return (value,)


def _number(name: str, given: str) -> Any:
    kinds: dict[str, Callable[[str], Any]] = {
        "max_lock_waits": int,
        "max_replica_lag": float,
        "max_rows_per_second": float,
    }
    try:
        return kinds.get(name, str)(given)
    except ValueError:
        # What it must be is said by whoever checks it.
        return given


@click.command(epilog=_EXAMPLES)
@run_argument
@limit_options
@json_option
@click.pass_obj
def limit(application: Application, /, run_id: int, *, as_json: bool, **options: Any) -> None:
    """Change what RUN holds back on while it goes on; 'none' takes a limit away.

    What is not named stays as it is. Lanes at work end after the chunk in hand, and the run goes on
    by itself as soon as all that is asked for has been looked at.
    """
    given = limits_given(options)
    if not given:
        raise click.UsageError("Name a limit, as in --max-rows-per-second 500.")
    throttle = application.ledger.run(run_id).limit(**given)
    if as_json:
        output.document({"run": run_id, "throttle": throttle.as_dict()})
        return
    rules = " and ".join(throttle.words()) or "nothing any more"
    output.say(f"Run {run_id} holds back on this from now on: {rules}.")
