"""Which tests run one after the other in the same process, where others run beside them.

By the names of tests and not by xdist's marks: with pytest 9.2 xdist 3.8 loses its groups without
a word (pytest-xdist issue 1386), and the marks that a hook adds came too late for it before.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from xdist.scheduler import LoadScopeScheduling

if TYPE_CHECKING:
    from xdist.scheduler import Scheduling
    from xdist.workermanage import WorkerController

#: What cannot be at work twice at a time, or is expensive and shared, and the tests that need it.
_GROUPS = {
    # The one Redis database is emptied before each test.
    "redis": re.compile(r"[\[-]redis[\]-]"),
    # All scenarios share their contestants' workers.
    "outside": re.compile(r"^tests/outside/"),
    "an image": re.compile(r"^tests/acceptance/test_image\.py"),
    "the peers": re.compile(r"^tests/acceptance/test_peers\.py"),
    "a wheel": re.compile(r"^tests/acceptance/test_wheel\.py"),
    "a finished demo": re.compile(
        r"^tests/acceptance/test_demo\.py::(test_json_tells|TestProofs::test_the_right_one_)"
    ),
}


def group_of(test: str) -> str | None:
    """The group of a test by its node id; None for one that runs wherever there is room."""
    return next((name for name, tests in _GROUPS.items() if tests.search(test)), None)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling | None:
    """Keep groups together where that is asked for; a hook of whoever imports it."""
    return Grouped(config, log) if config.getoption("dist") == "loadgroup" else None


class Grouped(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Hands out groups first, the largest of them before the others, then test by test.

    Every other process takes from the end. At the beginning, in the order of folders, are tests
    that wait for processes, at the end those that compute: so there are always some of both, and
    cores idle less.
    """

    def _assign_work_unit(self, node: WorkerController) -> None:
        if self.nodes.index(node) % 2:
            self.workqueue.move_to_end(next(reversed(self.workqueue)), last=False)
        super()._assign_work_unit(node)

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid) or nodeid
