"""The manifests for Kubernetes and KEDA: what their schemas say, and what has to agree."""

from __future__ import annotations

from typing import Any

import pytest

from breakbulk.nodes.heartbeat import LIVELY_SECONDS
from tests.support.deployment import (
    DEPLOY,
    command_of,
    complaints,
    documents,
    environment,
    instructions,
    schema,
)

_FILES = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
_ALL = [one for path in _FILES for one in documents(path)]
_IMAGE = instructions(DEPLOY / "Dockerfile")


def the(kind: str, name: str) -> dict[str, Any]:
    (found,) = [one for one in _ALL if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    return found


def schema_of(kind: str) -> dict[str, Any]:
    keda = schema("keda")
    if kind in keda:
        found: dict[str, Any] = keda[kind]
        return found
    kubernetes = schema("kubernetes")
    return {
        "$ref": f"#/definitions/{kubernetes['kinds'][kind]}",
        "definitions": kubernetes["definitions"],
    }


def containers(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = manifest["spec"]["template"]["spec"]["containers"]
    return found


@pytest.mark.parametrize(
    "manifest", _ALL, ids=lambda one: f"{one['kind']}-{one['metadata']['name']}"
)
def test_it_is_as_the_published_schema_says(manifest: dict[str, Any]) -> None:
    assert complaints(manifest, schema_of(manifest["kind"])) == []


@pytest.mark.parametrize(
    ("kind", "name", "slip"),
    [
        ("Deployment", "shop-worker", "terminationGraceSeconds"),
        ("ScaledObject", "shop-worker", "x"),
    ],
)
def test_the_schema_would_notice_a_slip(kind: str, name: str, slip: str) -> None:
    manifest = the(kind, name)
    wrong = {**manifest, "spec": {**manifest["spec"], slip: 1}}
    (said,) = complaints(wrong, schema_of(kind))
    assert slip in said


def test_a_worker_knows_how_long_it_has() -> None:
    pod = the("Deployment", "shop-worker")["spec"]["template"]["spec"]
    given = {one["name"]: one.get("value") for one in pod["containers"][0]["env"]}
    assert given["BREAKBULK_GRACE_SECONDS"] == str(pod["terminationGracePeriodSeconds"])


def test_a_worker_may_say_what_its_deletion_costs() -> None:
    pod = the("Deployment", "shop-worker")["spec"]["template"]["spec"]
    (rule,) = the("Role", "shop-worker")["rules"]
    assert rule == {"apiGroups": [""], "resources": ["pods"], "verbs": ["patch"]}
    binding = the("RoleBinding", "shop-worker")
    assert binding["roleRef"]["name"] == the("Role", "shop-worker")["metadata"]["name"]
    accounts = [one["name"] for one in binding["subjects"]]
    assert accounts == [pod["serviceAccountName"]]
    assert the("ServiceAccount", "shop-worker")


def test_the_probes_read_the_heartbeat_that_the_image_writes() -> None:
    (worker,) = containers(the("Deployment", "shop-worker"))
    heartbeat = environment(_IMAGE)["BREAKBULK_HEARTBEAT"]
    for probe in ("readinessProbe", "livenessProbe"):
        assert heartbeat in " ".join(worker[probe]["exec"]["command"])
    assert "-mmin -1" in worker["livenessProbe"]["exec"]["command"][-1]
    assert LIVELY_SECONDS == 60
    mounts = [one["mountPath"] for one in worker["volumeMounts"]]
    assert heartbeat.rpartition("/")[0] in mounts, "its file system is read-only else"


def test_what_is_started_is_what_the_image_starts_by_itself() -> None:
    (worker,) = containers(the("Deployment", "shop-worker"))
    assert worker["args"] == command_of(_IMAGE)


def test_all_run_as_the_user_of_the_image_and_may_do_little() -> None:
    user = int(dict(_IMAGE)["USER"])
    for one in _ALL:
        if one["kind"] not in ("Deployment", "Job"):
            continue
        pod = one["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == user
        for container in containers(one):
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert container["securityContext"]["allowPrivilegeEscalation"] is False


def test_what_is_referred_to_is_there() -> None:
    secret, config = the("Secret", "shop"), the("ConfigMap", "shop")
    for one in _ALL:
        for container in containers(one) if one["kind"] in ("Deployment", "Job") else ():
            assert container["envFrom"] == [
                {"configMapRef": {"name": config["metadata"]["name"]}},
                {"secretRef": {"name": secret["metadata"]["name"]}},
            ]
    (target,) = the("TriggerAuthentication", "shop-backlog")["spec"]["secretTargetRef"]
    assert target["key"] in secret["stringData"]
    scaled = the("ScaledObject", "shop-worker")["spec"]
    assert the("Deployment", scaled["scaleTargetRef"]["name"])
    assert "replicas" not in the("Deployment", "shop-worker")["spec"]
    web = the("Deployment", "shop-web")["spec"]["template"]["metadata"]["labels"]
    assert the("Service", "shop-web")["spec"]["selector"] == web


def test_keda_counts_with_the_slots_that_a_pod_has() -> None:
    (worker,) = containers(the("Deployment", "shop-worker"))
    slots = worker["args"][worker["args"].index("--concurrency") + 1]
    (trigger,) = the("ScaledObject", "shop-worker")["spec"]["triggers"]
    assert trigger["metadata"]["targetQueryValue"] == slots
