"""How a quay's runs must end: driven to the end by one healthy worker, and judged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from breakbulk.domain.status import FINISHED, ChunkStatus, RunStatus
from breakbulk.errors import StateError
from tests.support.loom import Stride

if TYPE_CHECKING:
    from breakbulk import RunHandle
    from tests.support.quay import Quay
    from tests.support.reckoning import RunSeen
    from tests.support.yard import Crew

#: Rounds of a lane and a steward's look, 20 seconds apart: far more than any run here needs.
_TURNS = 120
_PAUSE = 20.0


def drive(quay: Quay, crew: Crew) -> None:
    """Let one healthy worker do what there is to do until every run has ended.

    Whoever is under way at the beginning is frozen.

    Raises:
        AssertionError: a run does not end, though it is neither paused nor held.
    """
    frozen = list(quay.loom.strands)
    runs = quay.tallyman.latest.runs
    for _ in range(_TURNS):
        under_way = [strand for strand in quay.loom.strands if strand not in frozen]
        runs = quay.tallyman.latest.runs
        if all(run.status in FINISHED for run in runs.values()) and not under_way:
            return
        for handle in quay.handles:
            if _stands(runs[handle.id]):
                quay.verb("resume", handle.resume)
        quay.tick(crew)
        if not any("lane" in strand.notes for strand in under_way):
            quay.lane(crew)
        for strand in [one for one in quay.loom.strands if one not in frozen]:
            if not strand.over:
                quay.go(strand, Stride.THROUGH)
        quay.time_goes_by(_PAUSE)
    chunks = quay.tallyman.latest.chunks
    left = {name: one for name, one in chunks.items() if one.status is not ChunkStatus.SUCCEEDED}
    raise AssertionError(f"no end: {runs}, {left}, {quay.loom.described()}")


def _stands(run: RunSeen) -> bool:
    """Whether it does until somebody resumes it."""
    if run.status is RunStatus.HELD:
        return not str(run.reason).startswith("waits for run")
    return run.status is RunStatus.PAUSED


def judge_end(quay: Quay, handle: RunHandle) -> None:
    """Whether a run that has ended did all it should, and says so."""
    picture = quay.tallyman.latest
    run, chunks = picture.runs[handle.id], picture.chunks_of(handle.id)
    leaves = {name: one for name, one in chunks.items() if one.status is not ChunkStatus.SPLIT}
    assert run.status is _expected(quay, handle), (run, picture.verbs(handle.id), leaves)
    audit = handle.audit()
    assert audit.clean, audit.findings
    progress, record = handle.progress(), handle.record()
    assert record.summary is not None
    done = sum(one.rows for one in leaves.values() if one.status is ChunkStatus.SUCCEEDED)
    assert progress.rows_done == record.summary.rows_done == done, (progress, record, leaves)
    assert progress.rows_total is None or progress.rows_done <= progress.rows_total
    assert not any(name for name in picture.waiting if name[0] == handle.id)
    marked = {crate for of, crate, _, _ in picture.marks if of == handle.id}
    stable = quay.stable
    for name, one in leaves.items():
        inside = {key for key in stable if one.holds(key)}
        if one.status is ChunkStatus.SUCCEEDED:
            assert inside <= marked, f"rows of {name} were left out: {inside - marked}"
        else:
            assert not inside & marked, f"rows of {name} were done: {inside & marked}"
    kept = {key for name, key in picture.quarantine.items() if name[0] == handle.id}
    if run.status in (RunStatus.SUCCEEDED, RunStatus.PARTIAL):
        skipped = {
            key
            for key in stable
            if any(one.holds(key) for one in leaves.values() if one.status is ChunkStatus.SKIPPED)
        }
        assert stable <= marked | kept | skipped, stable - marked - kept - skipped
    told = sum(of == handle.id and round_ == run.round for of, round_, _ in picture.calls)
    expects = run.status in (RunStatus.SUCCEEDED, RunStatus.PARTIAL)
    assert told >= int(expects), f"nobody was called back: {picture.calls}"


def _expected(quay: Quay, handle: RunHandle) -> RunStatus:
    """What the history of a run's last round makes it."""
    picture = quay.tallyman.latest
    verbs = picture.verbs(handle.id)
    last = max((at for at, (_, verb) in enumerate(verbs) if verb in FINISHED), default=0)
    reopened = max((at for at, (_, verb) in enumerate(verbs[:last]) if verb in FINISHED), default=0)
    stopped = [actor for actor, verb in verbs[reopened:] if verb == RunStatus.CANCELLING]
    chunks = picture.chunks_of(handle.id).values()
    if stopped:
        return RunStatus.FAILED if stopped[0] == "lane" else RunStatus.CANCELLED
    if picture.runs[handle.id].callback_failed:
        return RunStatus.FAILED
    lost = {ChunkStatus.FAILED, ChunkStatus.SKIPPED}
    failed = sum(one.rows for one in chunks if one.status in lost)
    whole = sum(one.rows for one in chunks if one.status != ChunkStatus.SPLIT)
    # Where a table turns out smaller than was thought, only the end knows that it is too much.
    too_much = f"{failed} rows of {whole} failed, more than tolerate="
    if failed and (picture.runs[handle.id].reason or "").startswith(too_much):
        return RunStatus.FAILED
    return RunStatus.PARTIAL if any(one.status in lost for one in chunks) else RunStatus.SUCCEEDED


def repair(quay: Quay, crew: Crew, handle: RunHandle) -> None:
    """Put everything right and try again what failed: now every row is done."""
    quay.tempers.clear()
    quay.callback = None
    status = quay.tallyman.latest.runs[handle.id].status
    if status in (RunStatus.SUCCEEDED, RunStatus.CANCELLED):
        return
    strand = quay.verb("retry", handle.retry)
    quay.go(strand, Stride.THROUGH)
    if isinstance(strand.error, StateError):
        quay.go(quay.verb("finish", handle.finish), Stride.THROUGH)
    drive(quay, crew)
    judge_end(quay, handle)
    picture = quay.tallyman.latest
    assert picture.runs[handle.id].status is RunStatus.SUCCEEDED, picture.runs[handle.id]
    marked = {crate for of, crate, _, _ in picture.marks if of == handle.id}
    assert quay.stable <= marked, quay.stable - marked
