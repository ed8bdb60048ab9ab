"""A worker on a platform: it says when it is at work, lives visibly, and leaves in time."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from breakbulk.nodes.kubernetes import ANNOTATION
from tests.support.platform import Platform, certificate, service_account
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.stages import Stages

_ROWS = 1000
_PROTECT = {"ProtectionEnabled": True, "ExpiresInMinutes": 10}


@pytest.mark.thorough
def test_a_node_at_work_is_spared_and_one_that_goes_hands_its_work_on(
    postgres_url: str, valkey_url: str, set_stage: Stages, tmp_path: Path
) -> None:
    stage = set_stage(
        postgres_url,
        valkey_url,
        job={"chunk_size": 25, "retry_delay": 0},
        # Longer than anybody waits: the lanes end because the node does.
        knobs={"slice_seconds": 60.0},
    )
    stage.fill(_ROWS)
    heartbeat = tmp_path / "heartbeat"
    with Platform() as platform:
        environment = {
            "BREAKBULK_NODE": "ecs ec2",
            "BREAKBULK_HEARTBEAT": str(heartbeat),
            "ECS_AGENT_URI": platform.url,
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": platform.url,
        }
        first = stage.worker(env=environment)
        assert heartbeat.exists()
        run = stage.submit(seconds=0.25)
        wait_for(lambda: _PROTECT in platform.sent("PUT"), message="the task to be protected")
        stage.until_done(run, 2)
        platform.notices["spot/instance-action"] = json.dumps(
            {"action": "terminate", "time": "2026-11-26T08:22:00Z"}
        )
        assert first.wait() == 0
        assert "EC2 will terminate this spot instance" in first.log()
        assert platform.sent("PUT")[-1] == {"ProtectionEnabled": False}
        assert not heartbeat.exists()
        done = len(stage.chunk_statuses(run, "succeeded"))
        # Whoever starts it anew on the same machine gets nothing begun any more.
        again = stage.worker(env=environment, ready=False)
        assert again.wait() == 0
        assert len(stage.chunk_statuses(run, "succeeded")) == done
    stage.worker()
    stage.until_succeeded(run)
    stage.judge(run, rows=_ROWS)
    assert not stage.attempts(run)
    assert not stage.losses(run)


@pytest.mark.thorough
def test_a_pod_at_work_is_dear_to_delete(
    postgres_url: str, valkey_url: str, set_stage: Stages, tmp_path: Path
) -> None:
    stage = set_stage(
        postgres_url,
        valkey_url,
        job={"chunk_size": 50, "retry_delay": 0},
        # Between two lanes there is a moment without work, which is none for a pod.
        knobs={"slice_seconds": 1.0},
    )
    stage.fill(_ROWS)
    authority = certificate(tmp_path)
    account = service_account(tmp_path, authority, "a pod's")
    # Its place in a pod is no test's: so the hook is asked for by a name of the team's own.
    (tmp_path / "pod.py").write_text(
        "from pathlib import Path\n"
        "from breakbulk.nodes.kubernetes import PodDeletionCost\n"
        f"def hook(): return PodDeletionCost(Path({str(account)!r}))\n"
    )
    with Platform(token="a pod's", certificate=authority) as platform:

        def costs() -> list[str]:
            return [one["metadata"]["annotations"][ANNOTATION] for one in platform.sent("PATCH")]

        worker = stage.worker(
            env={
                "BREAKBULK_NODE": "pod:hook",
                "KUBERNETES_SERVICE_HOST": "127.0.0.1",
                "KUBERNETES_SERVICE_PORT": str(platform.port),
                "POD_NAME": "shop-worker-7c9",
            }
        )
        assert costs() == ["0"]
        run = stage.submit(seconds=0.3)
        wait_for(lambda: costs() == ["0", "1000"], message="the pod to be dear")
        stage.until_succeeded(run)
        assert costs() == ["0", "1000"], "it was at work all the time"
        worker.terminate()
        assert worker.wait() == 0
        assert costs() == ["0", "1000", "0"]
        assert {one.path for one in platform.asked} == {
            "/api/v1/namespaces/shop/pods/shop-worker-7c9"
        }
    stage.judge(run, rows=_ROWS)


def test_a_hook_that_nobody_knows_is_told_in_one_sentence(
    postgres_url: str, valkey_url: str, set_stage: Stages
) -> None:
    stage = set_stage(postgres_url, valkey_url)
    worker = stage.worker(env={"BREAKBULK_NODE": "nomad"}, ready=False)
    assert worker.wait() != 0
    assert "BREAKBULK_NODE names 'nomad', which is none of ec2, ecs, kubernetes" in worker.log()
    assert "Traceback" not in worker.log()
