"""Which hooks a worker has."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from breakbulk.errors import ConfigurationError
from breakbulk.nodes import NodeHook, chosen_hooks
from breakbulk.nodes.ec2 import Ec2Notice
from breakbulk.nodes.ecs import EcsTaskProtection

if TYPE_CHECKING:
    from pathlib import Path


class Own(NodeHook):
    """A hook of a team's own."""


def other() -> int:
    """No hook at all."""
    return 5


def test_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECS_AGENT_URI", "http://127.0.0.1:1")
    found = chosen_hooks(f"ecs, ec2 {__name__}:Own")
    assert [type(one).__name__ for one in found] == ["EcsTaskProtection", "Ec2Notice", "Own"]
    assert isinstance(found[0], EcsTaskProtection)
    assert isinstance(found[1], Ec2Notice)
    assert chosen_hooks("") == []


def test_a_hook_does_nothing_unless_it_is_told_what() -> None:
    own = Own()
    own.busy()
    own.idle()
    assert own.leaving() is None


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ("nomad", r"names 'nomad', which is none of ec2, ecs, kubernetes: write one of these, or"),
        ("no.such:Hook", r"which cannot be loaded \(No module named 'no'\)"),
        (f"{__name__}:Missing", "which cannot be loaded"),
        (f"{__name__}:other", "which gives int and no NodeHook"),
    ],
)
def test_what_is_none_is_refused(names: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        chosen_hooks(names)


def test_one_of_a_module_that_lies_where_the_worker_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Celery finds an application there, though nothing of it is installed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [one for one in sys.path if one not in ("", str(tmp_path))])
    (tmp_path / "our_nomad.py").write_text(
        "from breakbulk.nodes import NodeHook\nclass Nomad(NodeHook): pass\n"
    )
    before = list(sys.path)
    (found,) = chosen_hooks("our_nomad:Nomad")
    assert type(found).__name__ == "Nomad"
    assert sys.path == before
    del sys.modules["our_nomad"]
