"""Proving from the ledger that a run covered its key range: no gap, no overlap, nothing left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from breakbulk.domain.chunk import chunk_name
from breakbulk.domain.keys import decode_key
from breakbulk.domain.run import Run, Summary
from breakbulk.domain.status import FINISHED, ChunkStatus, RunStatus
from breakbulk.errors import BreakbulkError, StateError
from breakbulk.runner.origin import source_of
from breakbulk.runner.runtime import Runtime


@dataclass(frozen=True, slots=True)
class Audit:
    """What an audit found.

    Attributes:
        findings: one sentence for each thing that is wrong; empty when nothing is.
        notes: what is no fault but good to know, such as rows that came later.
        counted: the chunks and rows as they are in the ledger.
    """

    run_id: int
    status: RunStatus
    findings: tuple[str, ...]
    notes: tuple[str, ...]
    counted: Summary

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings

    @property
    def rows_not_done(self) -> int:
        """Rows that were given up: those in quarantine, and of chunks skipped or failed."""
        return self.counted.rows_failed

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "run": self.run_id,
            "status": str(self.status),
            "clean": self.clean,
            "findings": list(self.findings),
            "notes": list(self.notes),
            "counted": self.counted.as_dict(),
            "rows_not_done": self.rows_not_done,
        }


def audit(runtime: Runtime, connection: Connection, data: Connection, run: Run) -> Audit:
    """Check a run's chunks against its key range, and its rows against the source.

    Bounds are compared as they are written; rows are counted anew only to note what has changed
    since, because a table may go on living after it was walked.
    """
    if run.status is RunStatus.PRUNING:
        raise StateError(f"Run {run.id} is being pruned: there is nothing left to be proven.")
    ledger, database = runtime.ledger, runtime.database
    findings: list[str] = []
    notes: list[str] = []
    with database.reading(connection):
        misfits = ledger.reports.misfits(connection, run.id)
        counted = ledger.chunks.summary(connection, run.id)
        unfinished = ledger.chunks.any_unfinished(connection, run.id)
        exhausted = ledger.claims.exhausted(connection, run.id)
        dropped = ledger.reports.chunks(
            connection, run.id, statuses=[ChunkStatus.CANCELLED], limit=1
        )
        chunked = bool(ledger.reports.chunks(connection, run.id, limit=1))
    ended = run.status in FINISHED
    complete = exhausted and run.status is not RunStatus.CANCELLED
    findings += [sentence for row in misfits for sentence in _misfit(row, complete=complete)]
    if run.until is not None and exhausted and not chunked:
        findings.append("there is no chunk at all, although the source was not empty")
    if ended and unfinished:
        findings.append(f"the run is {run.status}, but a chunk is not finished")
    if run.status is RunStatus.SUCCEEDED and counted.chunks_failed:
        findings.append(f"the run succeeded, but {counted.chunks_failed} of its chunks failed")
    if run.status in (RunStatus.SUCCEEDED, RunStatus.PARTIAL) and dropped:
        findings.append(f"the run is {run.status}, but a chunk was cancelled: {dropped[0].name}")
    if ended and run.summary is not None and run.summary.rows_done != counted.rows_done:
        findings.append(
            f"the run ended with {run.summary.rows_done} rows done,"
            f" its chunks now add up to {counted.rows_done}"
        )
    if not ended:
        notes.append(f"the run is still {run.status}: what is carved so far was checked")
    # What was stopped on its way has not walked all that the source has.
    walked_all = run.status in FINISHED and complete and not dropped
    notes += _source_notes(runtime, data, run, counted if walked_all else None)
    return Audit(run.id, run.status, tuple(findings), tuple(notes), counted)


def _misfit(row: Any, *, complete: bool) -> list[str]:
    name = f"chunk {chunk_name(row.number, row.path)}"
    bounds = f"({row.after or 'start'}, {row.upto}]"
    sentences = []
    if row.place == 1 and row.after is not None:
        sentences.append(f"{name} {bounds} is the first, but does not begin at the start")
    elif row.place > 1 and row.after != row.expected:
        sentences.append(
            f"{name} {bounds} does not begin where the chunk before it ends ({row.expected}):"
            " a gap or an overlap"
        )
    if row.after == row.upto:
        sentences.append(f"{name} {bounds} is empty")
    if row.short and complete:
        sentences.append(f"{name} {bounds} is the last, but the run goes up to {row.until}")
    return sentences


def _source_notes(
    runtime: Runtime, data: Connection, run: Run, counted: Summary | None
) -> list[str]:
    """What the source says today.

    Args:
        counted: what was walked, if that can be compared with what there is.
    """
    if run.job not in runtime.jobs.all():
        return [f"the job {run.job} is not known here, so its source was not looked at"]
    spec = runtime.jobs.get(run.job)
    try:
        source = source_of(runtime, spec, runtime.build(spec, run), run)
        with runtime.data.reading(data):
            nulls = source.null_keys(data)
            rows = source.count(data, None if run.until is None else decode_key(run.until))
    except BreakbulkError as error:
        return [f"the source cannot be looked at any more: {error}"]
    notes = []
    if nulls:
        notes.append(f"{nulls} rows have no key (NULL) and were not reached")
    walked = rows if counted is None else counted.rows_done + counted.rows_failed
    if rows != walked:
        notes.append(
            f"the source has {rows} rows up to the run's last key now, the run walked {walked}:"
            " rows were inserted, deleted or changed since"
        )
    return notes
