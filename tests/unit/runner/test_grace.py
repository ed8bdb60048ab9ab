"""Whether chunks fit into the time that a shutdown may take."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from breakbulk.domain.finding import Severity
from breakbulk.ledger.workers import Worker
from breakbulk.runner.grace import Chunks, check_grace


def worker(settings: dict[str, Any] | None) -> Worker:
    return Worker(uuid4(), "here", 1, 2, "prefork", ("q",), ("price",), "", settings=settings)


def found(*settings: dict[str, Any] | None, **jobs: Chunks) -> list[tuple[Severity, str]]:
    told = check_grace([worker(one) for one in settings], jobs)
    return [(one.severity, one.what + " " + one.remedy) for one in told]


@pytest.mark.parametrize(
    ("grace", "chunks", "severity", "words"),
    [
        (60.0, Chunks(55.0), None, ""),
        (60.0, Chunks(56.0), Severity.NOTE, "may take 56 s"),
        (60.0, Chunks(None), Severity.NOTE, "may take as long as it likes"),
        (60.0, Chunks(55.0, 54.0), None, ""),
        (60.0, Chunks(3600.0, 55.5), Severity.WARNING, "took 55.5 s lately"),
        (4000.0, Chunks(3600.0, 55.5), None, ""),
    ],
)
def test_a_chunk_and_the_farewell_must_fit(
    grace: float, chunks: Chunks, severity: Severity | None, words: str
) -> None:
    said = found({"grace_seconds": grace}, price=chunks)
    assert [one[0] for one in said] == ([] if severity is None else [severity])
    assert all(words in one[1] for one in said)


def test_the_shortest_grace_counts_and_is_told_once() -> None:
    said = found({"grace_seconds": 600.0}, {"grace_seconds": 30.0}, price=Chunks(None, 100.0))
    (one,) = said
    assert one[1].startswith("A worker is killed 30 s after it is told to end")
    assert "to 105 or more" in one[1]


def test_a_soft_shutdown_must_fit_as_well() -> None:
    settings = {"grace_seconds": 30.0, "worker_soft_shutdown_timeout": 28.0}
    (one,) = found(settings)
    assert one[0] is Severity.WARNING
    assert "worker_soft_shutdown_timeout = 25" in one[1]
    assert found({**settings, "worker_soft_shutdown_timeout": 20.0}) == []


def test_workers_that_do_not_know_their_time_are_told_how() -> None:
    (one,) = found({}, {}, price=Chunks(3600.0))
    assert one[0] is Severity.NOTE
    assert "BREAKBULK_GRACE_SECONDS=" in one[1]
    # One of an older version says nothing at all.
    assert found(None) == []
