"""The systems that are compared: how their workers are started and how they get the job."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from bench.faults import chord_app
from bench.faults.crew import ROOT

SLOTS = 2
_NO_POOL = "no pool"
_NO_BROKER = "no broker"


@dataclass(frozen=True)
class System:
    """One of them.

    Attributes:
        name: on the command line.
        title: in tables.
        module: its application, with ``SETTINGS``, ``prepare`` and ``submit``.
        packages: whose versions matter.
        about: what is by design.
        lacks: faults that cannot strike it, each with the reason.
        variables: what the environment has to say.
    """

    name: str
    title: str
    module: str
    packages: tuple[str, ...]
    about: str
    lacks: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)

    def command(self, name: str) -> list[str]:
        """Return the command line of a worker with that name."""
        if self.module == "bench.faults.dbos_app":
            return [sys.executable, "-m", self.module, name]
        return [
            *(sys.executable, "-m", "celery", "-A", self.module, "worker"),
            *("--concurrency", str(SLOTS), "--hostname", f"{name}@localhost"),
            *("--loglevel", "INFO", "--without-mingle", "--without-gossip"),
        ]

    def settings(self) -> dict[str, Any]:
        """Return the settings of its application."""
        return {**import_module(self.module).SETTINGS, **self.overrides}

    @property
    def overrides(self) -> dict[str, Any]:
        """Settings that the environment decides on."""
        if chord_app.REJECT not in self.variables:
            return {}
        return {"task_reject_on_worker_lost": self.variables[chord_app.REJECT] == "1"}

    def call(self, function: str, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        """Start ``prepare`` or ``submit`` in a process of its own."""
        program = f"import {self.module} as app; app.{function}()"
        return subprocess.Popen(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )


_CELERY = ("celery", "kombu", "billiard", "redis")
SYSTEMS = (
    System(
        "breakbulk",
        "Breakbulk",
        "bench.faults.breakbulk_app",
        ("breakbulk", *_CELERY),
        "A lost machine is noticed when its lease of 15 s ends.",
    ),
    System(
        "chord",
        "Celery chord",
        "bench.faults.chord_app",
        _CELERY,
        "By design: a message whose worker has died is delivered again after the visibility"
        " timeout, an hour unless it is set; a part whose process has died counts as failed; and"
        " a chord with a failed part is never called back, its error callback is.",
        variables={chord_app.REJECT: "0"},
    ),
    System(
        "chord-reject",
        "the same with `task_reject_on_worker_lost`",
        "bench.faults.chord_app",
        _CELERY,
        "As before, but a part whose process has died is delivered again at once, as often as it"
        " takes: Celery's documentation warns of loops.",
        variables={chord_app.REJECT: "1"},
    ),
    System(
        "dbos",
        "DBOS queue",
        "bench.faults.dbos_app",
        ("dbos",),
        "By design: a worker's work in hand is recovered when a worker with its executor id starts"
        " again. Noticing one that does not is the business of Conductor, a service that is not"
        " part of the library, or of an operator. It has no broker, and its slots are threads, so"
        " that whatever kills a process kills a worker.",
        lacks={
            "child": _NO_POOL,
            "flushed": _NO_BROKER,
            "broker-down": _NO_BROKER,
            "doubled": _NO_BROKER,
        },
    ),
)
