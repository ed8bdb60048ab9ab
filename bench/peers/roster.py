"""Who takes part."""

from __future__ import annotations

from importlib import import_module, metadata, util
from typing import cast

from bench.peers.peer import Peer

OURS, LOOP, CHORD, OFFSET = "breakbulk", "loop", "chord", "offset"
_MODULES = {
    LOOP: "pool_loop",
    OURS: "breakbulk_run",
    "pgqueuer": "pgqueuer_jobs",
    "huey": "huey_chord",
    "dramatiq": "dramatiq_group",
    "dask": "dask_futures",
    "procrastinate": "procrastinate_jobs",
    CHORD: "celery_chord",
    "rq": "rq_jobs",
    "dbos": "dbos_queue",
    OFFSET: "offset_slices",
}
#: What has to be importable beside what the tests need.
_NEEDS = {
    "pgqueuer": "pgqueuer",
    "huey": "huey",
    "dramatiq": "dramatiq",
    "dask": "distributed",
    "procrastinate": "procrastinate",
    "rq": "rq",
    "dbos": "dbos",
}
NAMES = tuple(_MODULES)


def module(name: str) -> str:
    """The module of a contestant."""
    return f"bench.peers.{_MODULES[name]}"


def peer(name: str) -> Peer:
    """A contestant; its module is imported.

    Raises:
        ImportError: its package is not installed.
    """
    return cast("Peer", import_module(module(name)))


def missing(name: str) -> str | None:
    """The package that has to be installed first; None if it is there."""
    needed = _NEEDS.get(name)
    return needed if needed and util.find_spec(needed) is None else None


def versions(packages: tuple[str, ...]) -> dict[str, str]:
    """The versions that are installed."""
    return {name: metadata.version(name) for name in packages}
