"""EC2: a machine that is about to go says so, and the worker hands its work on in time.

Two minutes before a spot instance is stopped, and as soon as an autoscaling group wants to
terminate one, the instance's metadata say so. They are asked as IMDSv2 wants it, with a token. See
"Spot Instance interruption notices" and "Retrieve the target lifecycle state through instance
metadata" in Amazon's guides.
"""

from __future__ import annotations

import json
import os
import time

from breakbulk.nodes.hook import NodeHook
from breakbulk.nodes.platform import PlatformError, ask

_VARIABLE = "AWS_EC2_METADATA_SERVICE_ENDPOINT"
_ENDPOINT = "http://169.254.169.254"
_TOKEN_SECONDS = 21_600
_OK, _UNAUTHORIZED, _NOT_FOUND = 200, 401, 404


class Ec2Notice(NodeHook):
    """Asks every five seconds whether the instance is to be stopped, as Amazon recommends."""

    def __init__(self) -> None:
        self._base = os.environ.get(_VARIABLE, _ENDPOINT).rstrip("/")
        self._token = ""
        self._token_until = 0.0

    def leaving(self) -> str | None:
        """The notice, if there is one."""
        action = self._ask("spot/instance-action")
        if action is not None:
            told = json.loads(action)
            return f"EC2 will {told['action']} this spot instance at {told['time']}"
        if self._ask("autoscaling/target-lifecycle-state") == "Terminated":
            return "its autoscaling group terminates this instance"
        return None

    def _ask(self, what: str) -> str | None:
        """One entry of the metadata; None where there is none."""
        if time.monotonic() >= self._token_until:
            self._renew()
        headers = {"X-aws-ec2-metadata-token": self._token}
        answer = ask("GET", f"{self._base}/latest/meta-data/{what}", headers=headers)
        if answer.status == _NOT_FOUND:
            return None
        if answer.status != _OK:
            if answer.status == _UNAUTHORIZED:
                self._token_until = 0.0
            raise PlatformError(f"the instance's metadata cannot be read ({answer.status})")
        return answer.text

    def _renew(self) -> None:
        headers = {"X-aws-ec2-metadata-token-ttl-seconds": str(_TOKEN_SECONDS)}
        answer = ask("PUT", f"{self._base}/latest/api/token", headers=headers)
        if answer.status != _OK:
            raise PlatformError(f"the instance's metadata give no token ({answer.status})")
        self._token = answer.text
        # The last one is given up a minute early.
        self._token_until = time.monotonic() + _TOKEN_SECONDS - 60
