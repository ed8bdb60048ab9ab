"""ECS: a task at work is not stopped by a scale-in or a deployment.

The container agent of every task on ECS takes the request; it needs no credentials of ours, but
the task's role must allow ``ecs:UpdateTaskProtection``. See "Amazon ECS task scale-in protection
endpoint" in Amazon's developer guide.
"""

from __future__ import annotations

import os

from breakbulk.errors import ConfigurationError
from breakbulk.nodes.hook import NodeHook
from breakbulk.nodes.platform import PlatformError, ask

_VARIABLE = "ECS_AGENT_URI"
_OK = 200


class EcsTaskProtection(NodeHook):
    """Protects the task as long as something is at work in it.

    The protection runs out by itself, so a worker that hangs or is killed does not keep its task
    for ever: ten minutes, renewed every four.

    Args:
        minutes: how long it lasts unless it is renewed, 1 to 2880.

    Raises:
        ConfigurationError: this is no task on ECS.
    """

    def __init__(self, minutes: int = 10) -> None:
        agent = os.environ.get(_VARIABLE)
        if not agent:
            raise ConfigurationError(
                f"There is no {_VARIABLE} here, so this is no task on ECS: leave 'ecs' out of"
                " BREAKBULK_NODE."
            )
        self._url = f"{agent}/task-protection/v1/state"
        self._minutes = minutes
        self.renew_seconds = minutes * 60 * 0.4

    def busy(self) -> None:
        """Protect the task, or protect it for longer."""
        self._set({"ProtectionEnabled": True, "ExpiresInMinutes": self._minutes})

    def idle(self) -> None:
        """Let the task be stopped."""
        self._set({"ProtectionEnabled": False})

    def _set(self, state: dict[str, bool | int]) -> None:
        answer = ask("PUT", self._url, body=state)
        # A refusal may come with status 200, in the field "failure".
        if answer.status != _OK or b'"protection"' not in answer.body:
            raise PlatformError(f"ECS does not protect this task ({answer.status}: {answer.text})")
