"""ECS task protection, against a stand-in for the container agent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from breakbulk.errors import ConfigurationError
from breakbulk.nodes.ecs import EcsTaskProtection
from breakbulk.nodes.platform import PlatformError

if TYPE_CHECKING:
    from tests.support.platform import Platform


@pytest.fixture
def hook(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> EcsTaskProtection:
    monkeypatch.setenv("ECS_AGENT_URI", f"{platform.url}/api/task")
    # Of no use for a neighbour on this machine.
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    return EcsTaskProtection()


def test_a_busy_task_is_protected_and_an_idle_one_is_not(
    platform: Platform, hook: EcsTaskProtection
) -> None:
    hook.busy()
    hook.idle()
    assert [(one.method, one.path) for one in platform.asked] == [
        ("PUT", "/api/task/task-protection/v1/state")
    ] * 2
    assert platform.sent("PUT") == [
        {"ProtectionEnabled": True, "ExpiresInMinutes": 10},
        {"ProtectionEnabled": False},
    ]
    # It must not run out between two renewals, of which one may fail.
    assert 2 * hook.renew_seconds < 10 * 60


@pytest.mark.parametrize(
    ("status", "text"),
    [(400, '{"error": {"Code": "AccessDeniedException"}}'), (200, '{"failure": {"Reason": "x"}}')],
)
def test_a_refusal_is_told(
    platform: Platform, hook: EcsTaskProtection, status: int, text: str
) -> None:
    platform.refuses = (status, text)
    with pytest.raises(PlatformError, match="ECS does not protect this task"):
        hook.busy()


def test_elsewhere_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ECS_AGENT_URI", raising=False)
    with pytest.raises(ConfigurationError, match="leave 'ecs' out of BREAKBULK_NODE"):
        EcsTaskProtection()
