"""What deleting a pod costs, told to a stand-in for Kubernetes' API."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING
from urllib.error import URLError

import pytest

from breakbulk.errors import ConfigurationError
from breakbulk.nodes.kubernetes import ANNOTATION, PodDeletionCost
from breakbulk.nodes.platform import PlatformError
from tests.support.platform import Platform, certificate, service_account

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def kubernetes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Platform]:
    with Platform(token="a pod's", certificate=certificate(tmp_path)) as running:
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(running.port))
        monkeypatch.setenv("POD_NAME", "worker-7c9")
        yield running


@pytest.fixture
def account(kubernetes: Platform, tmp_path: Path) -> Path:
    assert kubernetes.certificate is not None
    return service_account(tmp_path, kubernetes.certificate, "a pod's")


def test_a_busy_pod_is_dear_and_an_idle_one_is_cheap(kubernetes: Platform, account: Path) -> None:
    hook = PodDeletionCost(account)
    hook.busy()
    hook.idle()
    costs = [body["metadata"]["annotations"][ANNOTATION] for body in kubernetes.sent("PATCH")]
    assert costs == ["1000", "0"]
    for one in kubernetes.asked:
        assert one.path == "/api/v1/namespaces/shop/pods/worker-7c9"
        assert one.headers["content-type"] == "application/merge-patch+json"


def test_the_token_is_read_each_time(kubernetes: Platform, account: Path) -> None:
    hook = PodDeletionCost(account)
    kubernetes.token = "another"
    with pytest.raises(PlatformError, match="401: Unauthorized"):
        hook.busy()
    (account / "token").write_text("another")
    hook.busy()


def test_a_server_of_another_authority_is_not_trusted(
    kubernetes: Platform, account: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (account / "ca.crt").write_bytes(certificate(other).read_bytes())
    with pytest.raises(URLError) as caught:
        PodDeletionCost(account).busy()
    assert isinstance(caught.value.reason, ssl.SSLError)
    assert kubernetes.asked == []


def test_elsewhere_it_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ConfigurationError, match="no pod with a service account"):
        PodDeletionCost(tmp_path)
