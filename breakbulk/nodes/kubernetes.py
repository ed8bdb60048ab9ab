"""Kubernetes: when a ReplicaSet shrinks, pods without work go first.

The annotation ``controller.kubernetes.io/pod-deletion-cost`` says what it costs to delete a pod;
the cheapest go first. It is best effort. See "Pod deletion cost" in the page on ReplicaSets. The
pod's service account must be allowed to ``patch`` its ``pods``.
"""

from __future__ import annotations

import os
import socket
import ssl
from pathlib import Path

from breakbulk.errors import ConfigurationError
from breakbulk.nodes.hook import NodeHook
from breakbulk.nodes.platform import PlatformError, ask

ANNOTATION = "controller.kubernetes.io/pod-deletion-cost"
_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_AT_WORK, _AT_REST = "1000", "0"
_OK = 200


class PodDeletionCost(NodeHook):
    """Makes it dear to delete the pod as long as something is at work in it.

    Kubernetes asks for few changes of the annotation, so it is written only when work begins and
    when there was none for half a minute.

    Args:
        account: where the service account is mounted.

    Raises:
        ConfigurationError: this is no pod, or it has no service account.
    """

    idle_seconds = 30.0

    def __init__(self, account: Path = _ACCOUNT) -> None:
        self._account = account
        host = os.environ.get("KUBERNETES_SERVICE_HOST")
        if not host or not (account / "token").exists():
            raise ConfigurationError(
                "This is no pod with a service account, so it cannot say what its deletion costs:"
                " leave 'kubernetes' out of BREAKBULK_NODE, or mount the account's token."
            )
        port = os.environ.get("KUBERNETES_SERVICE_PORT", "443")
        namespace = (account / "namespace").read_text().strip()
        # A pod's host name is its own, unless the manifest says otherwise.
        name = os.environ.get("POD_NAME") or socket.gethostname()
        server = f"[{host}]" if ":" in host else host
        self._url = f"https://{server}:{port}/api/v1/namespaces/{namespace}/pods/{name}"
        self._trust = ssl.create_default_context(cafile=str(account / "ca.crt"))

    def busy(self) -> None:
        """Let others go first."""
        self._annotate(_AT_WORK)

    def idle(self) -> None:
        """Go first."""
        self._annotate(_AT_REST)

    def _annotate(self, cost: str) -> None:
        # Read each time: such tokens are replaced every hour or so.
        token = (self._account / "token").read_text().strip()
        answer = ask(
            "PATCH",
            self._url,
            body={"metadata": {"annotations": {ANNOTATION: cost}}},
            headers={
                "Authorization": f"Bearer {token}",
                "Content-Type": "application/merge-patch+json",
            },
            trust=self._trust,
        )
        if answer.status != _OK:
            raise PlatformError(
                f"Kubernetes does not take what deleting this pod costs ({answer.status}:"
                f" {answer.text[:200]})"
            )
