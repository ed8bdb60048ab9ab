"""Options and arguments that several verbs share."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from breakbulk.domain.chunk import HIGHEST_ID, parse_chunk
from breakbulk.domain.deadline import parse_deadline
from breakbulk.domain.run import Run
from breakbulk.domain.sizing import DEFAULT_SECONDS, LONGEST_SECONDS, SHORTEST_SECONDS
from breakbulk.domain.status import ChunkStatus, RunStatus
from breakbulk.errors import ParameterError

if TYPE_CHECKING:
    from breakbulk.app import Breakbulk

Function = TypeVar("Function", bound=Callable[..., Any])


def json_option(function: Function) -> Function:
    """``--json``: one JSON document instead of text."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


_UNITS = {
    "s": timedelta(seconds=1),
    "min": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}
#: Of an age: any more is a slip, or longer ago than there is time.
_DIGITS = 6

#: Ids as databases give them.
ID = click.IntRange(min=1, max=HIGHEST_ID)


def run_argument(function: Function) -> Function:
    """The number of a run."""
    return click.argument("run_id", metavar="RUN", type=int)(function)


def reason_option(function: Function) -> Function:
    """Why something is done to a run."""
    return click.option("--reason", metavar="TEXT", help="Why; shown to operators.")(function)


def timeout_option(function: Function) -> Function:
    """How long to wait."""
    return click.option(
        "--timeout",
        type=click.FloatRange(min=0),
        metavar="SECONDS",
        callback=_seconds,
        help="Wait no longer; the run goes on, the exit code is 6.",
    )(function)


def start_options(function: Function) -> Function:
    """When to start, ``--countdown`` or ``--eta``, and when to have ended: ``--finish-by``."""
    countdown = click.option(
        "--countdown",
        type=click.FloatRange(min=0, max=float("inf"), max_open=True),
        metavar="SECONDS",
        callback=_seconds,
        help="Start it so many seconds later.",
    )
    eta = click.option(
        "--eta",
        metavar="TIME",
        callback=_moment,
        help="Start it then, as in 2026-01-31T22:00Z.",
    )
    finish_by = click.option(
        "--finish-by",
        metavar="TIME",
        callback=_deadline,
        help="When it should have ended, as in 2026-02-01T06:00Z, or in how many seconds.",
    )
    return countdown(eta(finish_by(function)))


def age_option(name: str, *, help: str) -> Callable[[Function], Function]:  # noqa: A002
    """How long ago, as a number with its unit."""
    return click.option(name, metavar="AGE", callback=_age, help=help)


def size_options(function: Function) -> Function:
    """How large chunks are: ``--chunk-size`` and ``--chunk-seconds``."""
    rows = click.option(
        "--chunk-size",
        type=_Size(),
        metavar="ROWS|auto",
        help="Rows in a chunk; auto: as many as take --chunk-seconds.",
    )
    seconds = click.option(
        "--chunk-seconds",
        type=click.FloatRange(min=SHORTEST_SECONDS, max=LONGEST_SECONDS),
        metavar="SECONDS",
        callback=_seconds,
        help=f"What a chunk is to take with --chunk-size auto; {DEFAULT_SECONDS:g} unless given.",
    )
    return rows(seconds(function))


class _Size(click.ParamType[Any]):
    """A number of rows, or the word for chunks that size themselves."""

    name = "size"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | Literal["auto"]:
        """Read what was typed."""
        if value == "auto":
            return "auto"
        return click.IntRange(min=1, max=2**31 - 1).convert(value, param, ctx)


def parameters_option(function: Function) -> Function:
    """The parameters of a job, as a dictionary."""
    return click.option(
        "-p",
        "--param",
        "parameters",
        multiple=True,
        metavar="NAME=VALUE",
        callback=_parameters,
        help="A parameter of the job; NAME:=JSON for lists and other structures.",
    )(function)


def limit_option(default: int) -> Callable[[Function], Function]:
    """How many lines at most."""
    return click.option(
        "--limit", type=click.IntRange(min=1, max=10_000), default=default, show_default=True
    )


def status_option(words: type[RunStatus | ChunkStatus]) -> Callable[[Function], Function]:
    """Only those of some statuses."""
    return click.option(
        "--status",
        "statuses",
        multiple=True,
        type=click.Choice([str(word) for word in words]),
        callback=lambda _ctx, _param, given: [words(word) for word in given] or None,
        help="Only these; may be given several times.",
    )


def chunk_option(name: str, *, help: str) -> Callable[[Function], Function]:  # noqa: A002
    """A chunk, as number and path."""
    return click.option(name, metavar="CHUNK", callback=_chunk, help=help)


def run_document(bulk: Breakbulk, run: Run) -> dict[str, Any]:
    """A run as JSON values."""
    return run.as_dict(bulk.shown_parameters(run))


def _parameters(
    _ctx: click.Context, _param: click.Parameter, given: Iterable[str]
) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        is_json = name.endswith(":")
        name = name.removesuffix(":").strip()
        if not equals or not name:
            raise click.BadParameter(f"{text!r} is not NAME=VALUE, as in rate=1.05.")
        if name in values:
            raise click.BadParameter(f"{name!r} is given twice.")
        try:
            values[name] = json.loads(value) if is_json else value
        except ValueError as error:
            raise click.BadParameter(f"{value!r} is not JSON ({error}).") from error
    return values


def _seconds(_ctx: click.Context, _param: click.Parameter, given: float | None) -> float | None:
    if given is not None and math.isnan(given):
        raise click.BadParameter("nan is no number of seconds.")
    return given


def _age(_ctx: click.Context, _param: click.Parameter, given: str | None) -> timedelta | None:
    if given is None:
        return None
    number = given.rstrip("abcdefghijklmnopqrstuvwxyz")
    unit = _UNITS.get(given[len(number) :])
    if unit is None or not (number.isascii() and number.isdecimal() and len(number) <= _DIGITS):
        raise click.BadParameter(f"{given!r} is no age, as in 30d, 12h, 90min or 45s.")
    return int(number) * unit


def _moment(_ctx: click.Context, _param: click.Parameter, given: str | None) -> datetime | None:
    if given is None:
        return None
    try:
        at = datetime.fromisoformat(given)
    except ValueError:
        raise click.BadParameter(f"{given!r} is no time, as in 2026-01-31T22:00Z.") from None
    if at.tzinfo is None:
        raise click.BadParameter(
            f"{given!r} says no zone: write {given}Z for UTC, or {given}+01:00 and the like."
        )
    return at


def _deadline(
    _ctx: click.Context, _param: click.Parameter, given: str | None
) -> datetime | float | None:
    try:
        return None if given is None else parse_deadline(given)
    except ParameterError as error:
        raise click.BadParameter(str(error)) from None


def _chunk(
    _ctx: click.Context, _param: click.Parameter, given: str | None
) -> tuple[int, str] | None:
    try:
        return None if given is None else parse_chunk(given)
    except ParameterError as error:
        raise click.BadParameter(str(error)) from None
