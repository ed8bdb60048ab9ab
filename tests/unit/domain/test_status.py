"""The two tables of statuses: every arrow on purpose, and no other."""

from __future__ import annotations

import pytest

from breakbulk.domain.status import (
    ACTIVE,
    CHUNK_ARROWS,
    FINISHED,
    RUN_ARROWS,
    STOPPING,
    UNFINISHED_CHUNK,
    WORKABLE,
    ChunkStatus,
    RunStatus,
    lifecycle_diagram,
    sources_of,
)

# Written out once more, so that an arrow is added or lost on purpose only.
RUN = {
    "loading": {"running", "pausing", "held", "cancelling"},
    "running": {"pausing", "held", "cancelling", "finishing"},
    "pausing": {"paused", "running", "loading", "cancelling"},
    "paused": {"running", "loading", "cancelling"},
    "held": {"running", "loading", "cancelling"},
    "cancelling": {"finishing"},
    "finishing": {"succeeded", "partial", "failed", "cancelled"},
    "succeeded": {"pruning"},
    "partial": {"running", "pruning"},
    "failed": {"running", "finishing", "loading", "pruning"},
    "cancelled": {"pruning"},
    "pruning": set(),
}
CHUNK = {
    "carved": {"succeeded", "waiting", "split", "failed", "skipped", "cancelled"},
    "waiting": {"carved", "cancelled"},
    "succeeded": set(),
    "split": set(),
    "failed": {"waiting"},
    "skipped": {"waiting"},
    "cancelled": {"waiting"},
}


def test_the_arrows_of_a_run() -> None:
    assert {str(status): {str(one) for one in to} for status, to in RUN_ARROWS.items()} == RUN


def test_the_arrows_of_a_chunk() -> None:
    assert {str(status): {str(one) for one in to} for status, to in CHUNK_ARROWS.items()} == CHUNK


def test_every_arrow_says_when() -> None:
    reasons = [
        when
        for arrows in [*RUN_ARROWS.values(), *CHUNK_ARROWS.values()]
        for when in arrows.values()  # type: ignore[attr-defined]
    ]
    assert all(len(when) > 10 and ":" not in when for when in reasons), "Mermaid splits at a colon"


def reachable(start: RunStatus) -> set[RunStatus]:
    found, ahead = {start}, [start]
    while ahead:
        new = set(RUN_ARROWS[ahead.pop()]) - found
        found |= new
        ahead += new
    return found


@pytest.mark.parametrize("status", RunStatus)
def test_every_run_can_end(status: RunStatus) -> None:
    assert reachable(status) & FINISHED
    assert status in reachable(RunStatus.LOADING)


def test_a_finished_run_was_finishing() -> None:
    """So there is one place where a callback can be called, and nobody can slip past it."""
    for status in FINISHED - {RunStatus.PRUNING}:
        assert sources_of(status) == {RunStatus.FINISHING}


def test_only_what_has_ended_is_pruned_and_for_good() -> None:
    assert sources_of(RunStatus.PRUNING) == FINISHED - {RunStatus.PRUNING}
    assert not RUN_ARROWS[RunStatus.PRUNING]


@pytest.mark.parametrize("target", RunStatus)
def test_sources_are_the_arrows_turned_round(target: RunStatus) -> None:
    assert sources_of(target) == {one for one in RunStatus if target in RUN_ARROWS[one]}


def test_the_groups() -> None:
    assert set(RunStatus) == ACTIVE | FINISHED
    assert not ACTIVE & FINISHED
    assert WORKABLE < ACTIVE
    assert STOPPING < ACTIVE
    assert not WORKABLE & STOPPING
    assert {one for one in ChunkStatus if "succeeded" in map(str, CHUNK_ARROWS[one])} == {"carved"}
    assert {ChunkStatus.CARVED, ChunkStatus.WAITING} == UNFINISHED_CHUNK


def test_the_diagram_has_every_status_and_every_arrow() -> None:
    diagram = lifecycle_diagram()
    assert diagram.count("```mermaid") == 2
    assert diagram.count("```") == 4
    for arrows in (RUN_ARROWS, CHUNK_ARROWS):
        for status, to in arrows.items():
            for target, when in to.items():
                assert f"    {status} --> {target}: {when}\n" in diagram
    count = sum(len(to) for to in RUN_ARROWS.values()) + sum(len(t) for t in CHUNK_ARROWS.values())
    assert diagram.count("-->") == count
