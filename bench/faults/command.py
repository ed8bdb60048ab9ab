"""The command line: ``python -m bench faults``."""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shlex
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import psycopg
from redis import Redis
from sqlalchemy import make_url

from bench.faults import work
from bench.faults.outcome import Outcome
from bench.faults.strikes import FAULTS, Fault
from bench.faults.systems import SLOTS, SYSTEMS, System
from bench.faults.table import markdown
from bench.faults.trial import WORKERS, carry_out
from breakbulk.embedded import EmbeddedPostgres, EmbeddedValkey, scratch_directory

SECONDS = 90.0
Named = TypeVar("Named", System, Fault)
_ALWAYS = ("breakbulk", "celery", "kombu", "SQLAlchemy", "psycopg")


def main(arguments: Sequence[str]) -> None:
    """Strike and print; the exit status says nothing about who was right."""
    options = _options(arguments)
    if options.render:
        _write_page(options.render, json.loads(options.render.read_text("utf-8")))
        return
    # Else nothing would be cleaned up.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    systems, faults = _chosen(SYSTEMS, options.only), _chosen(FAULTS, options.only)
    _demand({package for system in systems for package in system.packages})
    seed = random.SystemRandom().randrange(10**6) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    results = _describe(systems, faults, seed, options.seconds)
    began = time.monotonic()
    with scratch_directory("breakbulk-faults-") as scratch:
        home = options.keep or scratch
        with EmbeddedPostgres(scratch / "postgres") as postgres:
            results["versions"].update(_server_versions(postgres, scratch))
            for fault in faults:
                for system in systems:
                    if fault.name in system.lacks:
                        continue
                    outcome = carry_out(
                        system, fault, postgres, home, seed=str(seed), seconds=options.seconds
                    )
                    _tell(outcome, fault)
                    results["outcomes"].append(asdict(outcome))
    results["minutes"] = (time.monotonic() - began) / 60
    results["machine"]["load_after"] = _load()
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
        _write_page(options.json, results)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m bench faults", description="Strike, and compare.")
    names = [*(one.name for one in FAULTS), *(one.name for one in SYSTEMS)]
    parser.add_argument(
        "--only", action="append", choices=names, metavar="NAME", default=[], help=", ".join(names)
    )
    parser.add_argument("--seed", type=int, help="what decides on when and whom it strikes")
    parser.add_argument(
        "--seconds",
        type=float,
        default=SECONDS,
        help="time after the stroke, by default %(default)s",
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the results there, and a page beside it"
    )
    parser.add_argument("--keep", type=Path, metavar="DIRECTORY", help="keep the workers' logs")
    parser.add_argument(
        "--render", type=Path, metavar="FILE", help="only write the page of these results anew"
    )
    return parser.parse_args(arguments)


def _chosen(every: Sequence[Named], only: Sequence[str]) -> list[Named]:
    """Those that are named, or all when none of their kind is."""
    return [one for one in every if one.name in only] or list(every)


def _demand(packages: set[str]) -> None:
    there = {package.metadata["Name"].lower() for package in metadata.distributions()}
    if missing := sorted(packages - there):
        raise SystemExit(
            f"{' and '.join(missing)} is not installed: pip install -e '.[peers]', or leave the"
            " system out with --only."
        )


def _describe(
    systems: Sequence[System], faults: Sequence[Fault], seed: int, seconds: float
) -> dict[str, Any]:
    packages = [*_ALWAYS, *(package for system in systems for package in system.packages)]
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "command": shlex.join(["python", "-m", "bench", *sys.argv[1:]]),
        "seed": seed,
        "seconds": seconds,
        "machine": {
            "cores": os.cpu_count(),
            "architecture": platform.machine(),
            "system": f"{platform.system()} {platform.release()}",
            "load_before": _load(),
        },
        "versions": {
            "Python": platform.python_version(),
            **{name: metadata.version(name) for name in dict.fromkeys(packages)},
        },
        "job": {
            "rows": work.ROWS,
            "chunk_size": work.CHUNK_SIZE,
            "chunk_seconds": work.CHUNK_SECONDS,
            "max_retries": work.MAX_RETRIES,
            "retry_delay": work.RETRY_DELAY,
            "workers": WORKERS,
            "slots": SLOTS,
        },
        "systems": [
            {
                "name": one.name,
                "title": one.title,
                "module": one.module,
                "about": one.about,
                "settings": one.settings(),
                "lacks": dict(one.lacks),
            }
            for one in systems
        ],
        "faults": [
            {"name": one.name, "title": one.title, "lost_rows": one.lost_rows} for one in faults
        ],
        "outcomes": [],
    }


def _server_versions(postgres: EmbeddedPostgres, home: Path) -> dict[str, str]:
    plain = make_url(postgres.url).set(drivername="postgresql")
    with psycopg.connect(plain.render_as_string(hide_password=False)) as connection:
        version = connection.info.server_version
    with EmbeddedValkey(home / "valkey") as valkey, Redis.from_url(valkey.url) as client:
        found = client.info("server")
    return {
        "PostgreSQL": f"{version // 10000}.{version % 10000}",
        "Valkey": str(found["valkey_version"]),
    }


def _load() -> float:
    return round(os.getloadavg()[0], 1)


def _tell(outcome: Outcome, fault: Fault) -> None:
    share = outcome.done_before / work.ROWS
    words = outcome.words(fault.lost_rows)
    print(f"{fault.name}, {outcome.system}: {words} (struck at {share:.0%})", flush=True)


def _write_page(path: Path, results: dict[str, Any]) -> None:
    path.with_suffix(".md").write_text(markdown(results), encoding="utf-8")
