"""Nodes that follow the work, for real: worker processes that come, stay, are taken up, and go."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from breakbulk.autoscale.processes import Processes
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    import subprocess

    from tests.support.stage import Stage
    from tests.support.stages import Stages

_ROWS = 1000
_MOST = 3
_PATIENCE = 240.0


def controller(stage: Stage, on_exit: str) -> subprocess.Popen[bytes]:
    """One in a hurry."""
    return stage.operator(
        *("autoscale", "--max", str(_MOST), "--interval", "0.3", "--on-exit", on_exit),
        *("--scale-out-cooldown", "0", "--scale-in-cooldown", "2", "--start-seconds", "1"),
        *("--logs", str(stage.directory / "nodes")),
    )


@pytest.mark.thorough
def test_workers_come_are_taken_up_and_go(
    postgres_url: str, valkey_url: str, set_stage: Stages
) -> None:
    stage = set_stage(postgres_url, valkey_url, job={"chunk_size": 10, "retry_delay": 0})
    stage.fill(_ROWS)
    mark = f"workers of {stage.config.queue} for ledger {stage.bulk.scaling.place}"
    nodes = Processes([], group=mark, logs=stage.directory / "none")

    def working() -> int:
        return len([one for one in stage.bulk.live_workers() if not one.draining])

    try:
        first = controller(stage, "leave")
        wait_for(lambda: working() == 1, timeout=_PATIENCE, message="the least, without any work")
        run = stage.bulk.submit(stage.count(seconds=0.3), finish_by=1)
        wait_for(lambda: working() > 1, timeout=_PATIENCE, message="workers to follow the work")
        first.kill()
        first.wait()
        left = {node.id for node in nodes.nodes()}
        assert len(left) > 1, "they go on"

        second = controller(stage, "drain")
        most = set()

        def over() -> bool:
            most.add(nodes.size())
            return run.record().finished_at is not None

        wait_for(over, timeout=_PATIENCE, message="the run to end")
        stage.judge(run, rows=_ROWS)
        assert max(most) <= _MOST, "those that were there count"
        wait_for(lambda: nodes.size() == 1, timeout=_PATIENCE, message="the others to go")
        assert {node.id for node in nodes.nodes()} <= left, "whoever came first stays"
        verbs = {one.verb for one in run.activity() if one.actor.startswith("autoscale")}
        assert {"scaled out", "late"} <= verbs

        second.send_signal(signal.SIGTERM)
        assert second.wait(timeout=_PATIENCE) == 0
        assert nodes.nodes() == [], "drained"
        wait_for(lambda: not stage.bulk.workers(), message="them to have signed off")
    finally:
        nodes.drain(30)
