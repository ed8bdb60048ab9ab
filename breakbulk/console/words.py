"""Figures as people read them, no more exact than they are known."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from breakbulk.domain.nouns import Nouns
from breakbulk.domain.progress import Progress
from breakbulk.domain.run import Run
from breakbulk.domain.status import FINISHED, RunStatus

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_NEARLY = 10
_UNITS = ((_DAY, "days"), (_HOUR, "h"), (_MINUTE, "min"), (1, "s"))


def number(value: float) -> str:
    """With separators: ``12,500``."""
    return f"{value:,.0f}"


def duration(seconds: float) -> str:
    """In the two largest units: ``3 min 20 s``."""
    if seconds < _NEARLY:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE} s"
    if whole < _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE} min"
    return f"{whole // _DAY} d {whole % _DAY // _HOUR} h"


def moment(value: datetime | None) -> str:
    """To the second, in UTC: logs and databases of several machines are compared by it."""
    return "" if value is None else f"{value:%Y-%m-%d %H:%M:%S} UTC"


def took(progress: Progress) -> str:
    """How long a run has gone on, and how long it was not to start yet, if it was so at all."""
    stood = f", {duration(progress.stood)} after its submit" if progress.stood >= 1 else ""
    return f"{duration(progress.elapsed)}{stood}"


def rows(progress: Progress) -> str:
    """Rows done and in all; ``≈`` marks a total that is only an estimate."""
    done, noun = number(progress.rows_done), f"{progress.nouns.row}s"
    if progress.rows_total is None:
        return f"{done} {noun}" if not progress.total_is_exact else f"{done} of 0 {noun}"
    mark = "" if progress.total_is_exact else "≈ "
    return f"{done} of {mark}{number(progress.rows_total)} {noun}"


def percent(progress: Progress) -> str:
    """The part that is done, rounded down: 100 % is said only of all."""
    if progress.fraction is None:
        return "? %"
    return f"{int(progress.fraction * 1000) / 10:.1f} %"


def left(progress: Progress) -> str:
    """How long it will still take, as a range, because it is an estimate; empty if not known."""
    if progress.eta_range is None or progress.status is not RunStatus.RUNNING:
        return ""
    low, high = progress.eta_range
    size, unit = next((one for one in _UNITS if high >= 2 * one[0]), _UNITS[-1])
    shortest, longest = int(low // size), math.ceil(high / size)
    return f"{shortest} to {longest} {unit}" if shortest else f"up to {max(longest, 1)} {unit}"


def status(progress: Progress) -> str:
    """The status, with its reason, or with what the run waits for or holds back on."""
    waits = f"waiting: {progress.waits}" if progress.waits else ""
    why = "; ".join(part for part in (progress.reason, waits) if part)
    if not why and progress.throttled is not None:
        colon = "" if progress.throttled.lanes else ":"
        why = f"throttled{colon} {progress.throttled}"
    return f"{progress.status} ({why})" if why else str(progress.status)


def stands(status: RunStatus) -> str:
    """What a run does, or has done, after its name: ``is running``, ``has succeeded``."""
    ended = {
        RunStatus.SUCCEEDED: "has succeeded",
        RunStatus.PARTIAL: "ended partial",
        RunStatus.FAILED: "has failed",
        RunStatus.CANCELLED: "was cancelled",
    }
    return ended.get(status, f"is {status}")


def chunks(progress: Progress) -> str:
    """Chunks done and carved; of those that were split, the parts are what can be done."""
    done = f"{number(progress.chunks_done)} done"
    carved, failed = progress.chunks_carved, progress.chunks_failed
    if progress.chunks_done + failed + progress.chunks_waiting > carved:
        return f"{done}, in parts of {number(carved)}"
    return f"{done} of {number(carved)}{'' if progress.total_is_exact else ' carved so far'}"


def troubles(progress: Progress) -> str:
    """Chunks that wait for a retry or were given up; empty where there are none."""
    counts = ((progress.chunks_waiting, "waiting"), (progress.chunks_failed, "failed"))
    noun = progress.nouns.chunk
    return ", ".join(f"{counted(count, noun)} {word}" for count, word in counts if count)


def line(progress: Progress) -> str:
    """One look at a run, in one line."""
    parts = [f"{status(progress)}: {_part(progress)}", *figures(progress)]
    return ", ".join(parts)


def _part(progress: Progress) -> str:
    """Rows with their percentage, unless nobody will ever know of how many."""
    if progress.fraction is None and progress.status in FINISHED:
        return rows(progress)
    return f"{rows(progress)} ({percent(progress)})"


def figures(progress: Progress) -> list[str]:
    """What is worth knowing beside the rows; pace and lanes only while there is work."""
    going = progress.status not in FINISHED | {RunStatus.PAUSED, RunStatus.HELD}
    parts = [
        f"{number(progress.rate)} {progress.nouns.row}s/s" if going else "",
        f"{left(progress)} left" if left(progress) else "",
        counted(progress.lanes, "lane") if going else "",
        troubles(progress),
        duration(progress.elapsed),
    ]
    return [part for part in parts if part]


def counted(count: int, noun: str) -> str:
    """A number with its noun: ``1 lane``, ``4 lanes``."""
    return f"{number(count)} {noun}{'' if count == 1 else 's'}"


def amount(nouns: Nouns, rows: int, chunks: int) -> str:
    """``3 rows in 2 chunks``; of a canvas ``3 parts``."""
    said = counted(rows, nouns.row)
    return said if nouns.alike else f"{said} in {counted(chunks, nouns.chunk)}"


def call(job: str, parameters: Mapping[str, Any]) -> str:
    """A job with its parameters, as one would write it."""
    shown = ", ".join(
        f"{name}={json.dumps(value, ensure_ascii=False, default=str)}"
        for name, value in parameters.items()
    )
    return f"{job}({shown})"


def first_chunk(
    first: tuple[str | None, str] | None, last_key: str | None, rows: int | None
) -> str:
    """The bounds of the chunk that a plan begins with."""
    if first is None:
        return walked_to(None, rows) if last_key is None else "not within the first keys"
    after, upto = first
    return f"after {after} up to {upto}" if after else f"up to {upto}"


def walked_to(last_key: str | None, rows: int | None) -> str:
    """How far a plan walks: to the table's last key, whatever its filter lets through."""
    if last_key is not None:
        return f"{last_key}, the last key of the table"
    # An iterable can be read only once, and not for a plan.
    return "unknown until its items are read" if rows is None else "there are no rows"


def ending(run: Run, progress: Progress) -> str:
    """How a run ended, or where it came to rest, in one sentence."""
    name = f"Run {run.id} of {run.job}"
    reason = f" ({run.reason})" if run.reason else ""
    if run.summary is None:
        return f"{name} {stands(run.status)}{reason}: {_part(progress)}."
    summary, nouns = run.summary, progress.nouns
    failed = ""
    if summary.rows_failed or summary.chunks_failed:
        given_up = amount(nouns, summary.rows_failed, summary.chunks_failed)
        failed = f", {given_up} given up"
    did = {RunStatus.PARTIAL: "ended partial", RunStatus.CANCELLED: "was cancelled"}.get(
        run.status, str(run.status)
    )
    return (
        f"{name} {did}{reason}: {amount(nouns, summary.rows_done, summary.chunks_done)}"
        f"{failed}, {duration(summary.seconds)}."
    )
