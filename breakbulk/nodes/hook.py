"""The hooks of a node, and which of them a worker has."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any

from breakbulk.errors import ConfigurationError

#: Names of hooks, with blanks between them.
HOOKS_VARIABLE = "BREAKBULK_NODE"
_SHIPPED = {
    "ec2": "breakbulk.nodes.ec2:Ec2Notice",
    "ecs": "breakbulk.nodes.ecs:EcsTaskProtection",
    "kubernetes": "breakbulk.nodes.kubernetes:PodDeletionCost",
}


class NodeHook:
    """What a worker tells its platform, and asks it. Override what you need.

    It is called in a thread of the worker's main process. What it raises is logged, once for each
    message, and it is called again later: no work waits for it.

    Attributes:
        renew_seconds: while work goes on ``busy`` is called again after so many seconds.
        idle_seconds: ``idle`` is called once nothing was at work for so long. Between two lanes
            there is a moment without work.
        ask_seconds: how often ``leaving`` is asked.
    """

    renew_seconds: float = math.inf
    idle_seconds: float = 10.0
    ask_seconds: float = 5.0

    def busy(self) -> None:
        """Tasks are at work here, lanes or the team's own, and this node should be spared."""

    def idle(self) -> None:
        """Nothing is at work here any more."""

    def leaving(self) -> str | None:
        """Why this node is about to go, in a few words; the worker then shuts down warmly."""
        return None


def chosen_hooks(names: str) -> list[NodeHook]:
    """The hooks of these names, parted by blanks or commas.

    Args:
        names: ``ecs``, ``kubernetes``, ``ec2``, or ``module:name`` of a class or function of
            one's own that returns a ``NodeHook`` when it is called.

    Raises:
        ConfigurationError: there is no such hook, or it cannot work here.
    """
    return [_made(name) for name in names.replace(",", " ").split()]


def _made(name: str) -> NodeHook:
    place = _SHIPPED.get(name, name)
    module, colon, attribute = place.partition(":")
    if not colon:
        known = ", ".join(sorted(_SHIPPED))
        raise ConfigurationError(
            f"{HOOKS_VARIABLE} names {name!r}, which is none of {known}: write one of these, or"
            " module:name for a hook of your own."
        )
    try:
        with _here_in_path():
            factory: Callable[[], Any] = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(
            f"{HOOKS_VARIABLE} names {name!r}, which cannot be loaded ({error})."
        ) from error
    hook = factory()
    if not isinstance(hook, NodeHook):
        raise ConfigurationError(
            f"{HOOKS_VARIABLE} names {name!r}, which gives {type(hook).__name__} and no NodeHook:"
            " derive your class from breakbulk.nodes.NodeHook."
        )
    return hook


@contextmanager
def _here_in_path() -> Iterator[None]:
    """As Celery finds the application's modules: also where the worker was started."""
    here = os.getcwd()  # noqa: PTH109  (as it goes on sys.path)
    if here in sys.path:
        yield
        return
    sys.path.insert(0, here)
    try:
        yield
    finally:
        with suppress(ValueError):
            sys.path.remove(here)
