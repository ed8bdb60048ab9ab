"""What a run may take of its surroundings: given at submit, and changed while it goes on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from sqlalchemy import Connection

from breakbulk.domain.chunk import RunId
from breakbulk.domain.throttle import OF_POSTGRESQL, OPTIONS, Limits, Throttle
from breakbulk.errors import ParameterError, StateError
from breakbulk.runner.runtime import Runtime

#: More than anybody has slots.
MOST_LANES = 10_000
_LANES = "max_lanes"


def known_limits(given: Mapping[str, Any]) -> Limits:
    """Limits as somebody gives them.

    Raises:
        ParameterError: one is unknown.
    """
    known = (_LANES, *OPTIONS)
    if unknown := sorted(set(given) - set(known)):
        raise ParameterError(
            f"There is no limit or option {unknown[0]!r}; limits are {', '.join(known)}."
        )
    return cast("Limits", dict(given))


def lanes_of(limits: Limits, default: int | None) -> int | None:
    """How many lanes a run may have at most; None for as many as workers have slots.

    Raises:
        ParameterError: that is no number of lanes.
    """
    lanes = limits.get(_LANES, default)
    if lanes is not None and (type(lanes) is not int or not 1 <= lanes <= MOST_LANES):
        raise ParameterError(
            f"A run cannot have {lanes!r} lanes: give a number from 1 to {MOST_LANES}, or pause it."
        )
    return lanes


def throttle_of(runtime: Runtime, changes: Mapping[str, Any], default: Throttle) -> Throttle:
    """On what a run holds back.

    Args:
        changes: options that are given anew; None takes one away.
        default: what it holds back on otherwise.

    Raises:
        ParameterError: a value cannot be meant, or not with this database.
    """
    throttle = default
    for name in OPTIONS:
        if name not in changes:
            continue
        value = cast("dict[str, Any]", changes)[name]
        try:
            throttle = throttle.changed({name: value})
        except ValueError as error:
            raise ParameterError(f"{name}={value!r} must be {error}.") from None
    given = throttle.as_dict()
    for name in OF_POSTGRESQL:
        if given[name] is not None and not runtime.data.is_postgresql:
            raise ParameterError(
                f"{name} needs PostgreSQL, and the rows are in SQLite, which has no replicas and"
                " one writer at a time: use only=, throttle_on= or max_rows_per_second=."
            )
    return throttle


def limit_lanes(
    runtime: Runtime, connection: Connection, run_id: RunId, lanes: int | None, actor: str
) -> None:
    """Let the run have at most so many lanes; None for as many as workers have slots.

    Those that are too many by then end after the chunk in hand.

    Raises:
        ParameterError: that is no number of lanes.
        StateError: the run has ended.
    """
    lanes_of({"max_lanes": lanes}, None)
    ledger = runtime.ledger
    with runtime.database.transaction(connection):
        if not ledger.runs.limit_lanes(connection, run_id, lanes, actor=actor):
            status = ledger.runs.status(connection, run_id)
            raise StateError(f"Run {run_id} has ended ({status}): it has no lanes any more.")


def limit(
    runtime: Runtime, connection: Connection, run_id: RunId, changes: Mapping[str, Any], actor: str
) -> Throttle:
    """Change on what a run holds back; what it is by then.

    Lanes at work end after the chunk in hand. As soon as all has been looked at that is asked for
    now, the run goes on by itself.

    Args:
        changes: options that are given anew; None takes one away.

    Raises:
        ParameterError: an option is unknown, or its value cannot be meant.
        StateError: the run has ended.
    """
    known_limits({_LANES: None, **changes})
    if _LANES in changes:
        raise ParameterError("The number of lanes is limited by limit_lanes().")
    ledger = runtime.ledger
    with runtime.database.transaction(connection):
        run = ledger.runs.get(connection, run_id)
        # The carve row before the run's, as everywhere.
        ledger.claims.lock(connection, run_id)
        before = ledger.throttles.rules(connection, run)
        throttle = throttle_of(runtime, changes, before)
        if throttle == before:
            return throttle
        if not ledger.throttles.change(connection, run_id, throttle):
            status = ledger.runs.status(connection, run_id)
            raise StateError(f"Run {run_id} has ended ({status}): it holds back on nothing.")
        detail = f"{_said(throttle)}, before: {_said(before)}"
        ledger.runs.note(connection, run_id, actor=actor, verb="limits", detail=detail)
    return throttle


def _said(throttle: Throttle) -> str:
    return " and ".join(throttle.words()) or "nothing"
