"""The life of a run and of a chunk: each status, and each arrow with its *when*.

The tables below are the only place that knows which change is legal. The ledger asks them
before it writes, the tests assert every arrow and the absence of all others, and the diagram
in ``docs/explanation/lifecycle.md`` is generated from them (so no colon and no semicolon in a
*when*: Mermaid ends it there).
"""

from __future__ import annotations

from enum import StrEnum


class RunStatus(StrEnum):
    """Where a run stands."""

    LOADING = "loading"
    RUNNING = "running"
    PAUSING = "pausing"
    PAUSED = "paused"
    HELD = "held"
    CANCELLING = "cancelling"
    FINISHING = "finishing"
    SUCCEEDED = "succeeded"
    PARTIAL = "partial"
    FAILED = "failed"
    CANCELLED = "cancelled"
    PRUNING = "pruning"


class ChunkStatus(StrEnum):
    """Where a chunk stands."""

    CARVED = "carved"
    WAITING = "waiting"
    SUCCEEDED = "succeeded"
    SPLIT = "split"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


_PRUNED = "it is pruned, which takes its rows out of the ledger and then itself"

RUN_ARROWS: dict[RunStatus, dict[RunStatus, str]] = {
    RunStatus.LOADING: {
        RunStatus.RUNNING: "the iterable has been read to its end",
        RunStatus.PAUSING: "an operator pauses, chunks in hand go on and so does the reading",
        RunStatus.HELD: "something only a human can put right, with its reason",
        RunStatus.CANCELLING: "the iterable ended early, or somebody stops it as when running",
    },
    RunStatus.RUNNING: {
        RunStatus.PAUSING: "an operator pauses, chunks in hand go on",
        RunStatus.HELD: "something only a human can put right, with its reason",
        RunStatus.CANCELLING: "an operator, the job or its policy stops it, chunks in hand go on",
        RunStatus.FINISHING: "the last chunk is terminal and one lane won the callback",
    },
    RunStatus.PAUSING: {
        RunStatus.PAUSED: "the last lane has let go",
        RunStatus.RUNNING: "an operator resumes before it was paused",
        RunStatus.LOADING: "the same, while the iterable is being read",
        RunStatus.CANCELLING: "an operator cancels",
    },
    RunStatus.PAUSED: {
        RunStatus.RUNNING: "an operator resumes",
        RunStatus.LOADING: "an operator resumes, while the iterable is being read",
        RunStatus.CANCELLING: "an operator cancels",
    },
    RunStatus.HELD: {
        RunStatus.RUNNING: "an operator resumes, or what it waited for has ended",
        RunStatus.LOADING: "the same, while the iterable is being read",
        RunStatus.CANCELLING: "an operator cancels",
    },
    RunStatus.CANCELLING: {
        RunStatus.FINISHING: "the last lane has let go, the failed callback is due",
    },
    RunStatus.FINISHING: {
        RunStatus.SUCCEEDED: "the callback committed and every row is done",
        RunStatus.PARTIAL: "the callback committed, but rows are in quarantine or skipped",
        RunStatus.FAILED: "a policy, the tolerance or the callback itself failed",
        RunStatus.CANCELLED: "the run was cancelled",
    },
    # Retrying what failed, or the callback, opens the run again.
    RunStatus.SUCCEEDED: {RunStatus.PRUNING: _PRUNED},
    RunStatus.PARTIAL: {
        RunStatus.RUNNING: "an operator retries what failed, in the next round",
        RunStatus.PRUNING: _PRUNED,
    },
    RunStatus.FAILED: {
        RunStatus.RUNNING: "an operator retries what failed, in the next round",
        RunStatus.FINISHING: "an operator tries the callback again",
        RunStatus.LOADING: "it is submitted again with its key, which goes on with the reading",
        RunStatus.PRUNING: _PRUNED,
    },
    RunStatus.CANCELLED: {RunStatus.PRUNING: _PRUNED},
    RunStatus.PRUNING: {},
}

CHUNK_ARROWS: dict[ChunkStatus, dict[ChunkStatus, str]] = {
    ChunkStatus.CARVED: {
        ChunkStatus.SUCCEEDED: "its transaction committed",
        ChunkStatus.WAITING: "it failed, was snoozed, or lost its worker",
        ChunkStatus.SPLIT: (
            "its retries are used up, or lanes had nothing to do, and two halves take its place"
        ),
        ChunkStatus.FAILED: "its retries are used up and it is a single row, or the policy stops",
        ChunkStatus.SKIPPED: "its retries are used up and the policy is to go on",
        ChunkStatus.CANCELLED: "the run was cancelled",
    },
    ChunkStatus.WAITING: {
        ChunkStatus.CARVED: "a lane claims it, from its time on",
        ChunkStatus.CANCELLED: "the run was cancelled",
    },
    ChunkStatus.SUCCEEDED: {},
    ChunkStatus.SPLIT: {},
    ChunkStatus.FAILED: {ChunkStatus.WAITING: "an operator retries it"},
    ChunkStatus.SKIPPED: {ChunkStatus.WAITING: "an operator retries it"},
    ChunkStatus.CANCELLED: {
        ChunkStatus.WAITING: "an operator retries a run that its policy had stopped"
    },
}

#: Statuses in which a lane may carve and claim chunks.
WORKABLE = frozenset({RunStatus.LOADING, RunStatus.RUNNING})
#: Statuses in which a run is being brought to rest and chunks in hand still go on.
STOPPING = frozenset({RunStatus.PAUSING, RunStatus.CANCELLING})
#: Terminal statuses: nothing happens any more by itself.
FINISHED = frozenset(
    {
        RunStatus.SUCCEEDED,
        RunStatus.PARTIAL,
        RunStatus.FAILED,
        RunStatus.CANCELLED,
        RunStatus.PRUNING,
    }
)
#: Not terminal.
ACTIVE = frozenset(RunStatus) - FINISHED
#: A chunk in one of these keeps its run from finishing.
UNFINISHED_CHUNK = frozenset({ChunkStatus.CARVED, ChunkStatus.WAITING})


def sources_of(target: RunStatus) -> frozenset[RunStatus]:
    """The statuses from which an arrow leads to ``target``."""
    return frozenset(source for source, arrows in RUN_ARROWS.items() if target in arrows)


def lifecycle_diagram() -> str:
    """Both tables as Mermaid state diagrams, as the documentation shows them."""
    lines = ["### A run", "", "```mermaid", "stateDiagram-v2"]
    for source, arrows in RUN_ARROWS.items():
        lines += [f"    {source} --> {target}: {when}" for target, when in arrows.items()]
    lines += ["```", "", "### A chunk", "", "```mermaid", "stateDiagram-v2"]
    for chunk, chunk_arrows in CHUNK_ARROWS.items():
        lines += [f"    {chunk} --> {target}: {when}" for target, when in chunk_arrows.items()]
    return "\n".join([*lines, "```", ""])
