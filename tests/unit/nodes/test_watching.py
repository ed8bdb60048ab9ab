"""When a node's hooks are called."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

import pytest

from breakbulk.nodes import NodeHook
from breakbulk.nodes.watching import NodeWatch


@dataclass
class Scene:
    """A worker whose clock and work are the test's."""

    now: float = 100.0
    at_work: bool = False
    left: list[str] = field(default_factory=list)

    def watch(self, *hooks: NodeHook) -> NodeWatch:
        return NodeWatch(hooks, lambda: self.at_work, self.left.append, lambda: self.now)


class Noted(NodeHook):
    """Notes what it is told."""

    idle_seconds, renew_seconds, ask_seconds = 10.0, 60.0, 5.0

    def __init__(self) -> None:
        self.told: list[str] = []
        self.notice: str | None = None
        self.asked = 0
        self.broken = False

    def busy(self) -> None:
        self._tell("busy")

    def idle(self) -> None:
        self._tell("idle")

    def leaving(self) -> str | None:
        self.asked += 1
        return self.notice

    def _tell(self, word: str) -> None:
        self.told.append(word)
        if self.broken:
            raise OSError("nobody answers")


def watched(**scene: Any) -> tuple[Scene, Noted, NodeWatch]:
    made, hook = Scene(**scene), Noted()
    return made, hook, made.watch(hook)


def pass_by(scene: Scene, watch: NodeWatch, seconds: int) -> None:
    for _ in range(seconds):
        scene.now += 1
        watch.look()


def test_what_an_earlier_worker_has_told_is_put_right() -> None:
    _, hook, watch = watched()
    watch.look()
    assert hook.told == ["idle"]


def test_a_moment_without_work_is_not_idle() -> None:
    scene, hook, watch = watched(at_work=True)
    watch.look()
    scene.at_work = False
    pass_by(scene, watch, 9)
    scene.at_work = True
    pass_by(scene, watch, 20)
    assert hook.told == ["busy"]
    scene.at_work = False
    pass_by(scene, watch, 10)
    assert hook.told == ["busy"]
    pass_by(scene, watch, 5)
    assert hook.told == ["busy", "idle"]


def test_it_is_renewed_while_work_goes_on() -> None:
    scene, hook, watch = watched(at_work=True)
    watch.look()
    pass_by(scene, watch, 125)
    assert hook.told == ["busy"] * 3
    scene.at_work = False
    pass_by(scene, watch, 200)
    assert hook.told == ["busy"] * 3 + ["idle"]


def test_what_fails_is_tried_again_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    scene, hook, watch = watched(at_work=True)
    hook.broken = True
    with caplog.at_level(logging.WARNING, "breakbulk.node"):
        watch.look()
        pass_by(scene, watch, 12)
    assert hook.told == ["busy"] * 3
    assert len(caplog.records) == 1
    assert "OSError: nobody answers" in caplog.text
    hook.broken = False
    pass_by(scene, watch, 12)
    assert hook.told == ["busy"] * 4


def test_a_node_that_is_about_to_go_ends_its_worker_once() -> None:
    scene, hook, watch = watched()
    pass_by(scene, watch, 11)
    assert hook.asked == 3
    hook.notice = "the sun is going down"
    pass_by(scene, watch, 20)
    assert scene.left == ["the sun is going down"]


def test_a_worker_that_begins_asks_first() -> None:
    scene, hook, watch = watched()
    hook.notice = "this node was about to go before"
    watch.start()
    assert scene.left == ["this node was about to go before"]
    watch.stop()


def test_at_the_end_nothing_is_at_work_any_more() -> None:
    scene, hook, watch = watched(at_work=True)
    watch.start()
    watch.stop()
    assert hook.told == ["busy", "idle"]
    assert scene.at_work
