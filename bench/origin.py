"""Where, when and with what something was measured."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from redis import Redis

from bench.servers import Servers
from bench.spread import SEED

_ROOT = Path(__file__).parents[1]
_RESULTS = ":!bench/results"
_ALWAYS = ("breakbulk", "celery", "kombu", "SQLAlchemy", "psycopg", "redis")


def origin(servers: Servers, packages: Iterable[str] = ()) -> dict[str, Any]:
    """Return what a result needs to be judged and repeated, as JSON values.

    Args:
        servers: what it was measured on.
        packages: whose versions matter beside those that always do.
    """
    with Redis.from_url(servers.broker) as client:
        found: Any = client.info("server")
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "command": shlex.join(["python", "-m", "bench", *sys.argv[1:]]),
        **commit(),
        "seed": SEED,
        "machine": {
            "cores": os.cpu_count(),
            "processor": _processor(),
            "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GB",
            "system": f"{platform.system()} {platform.release()}",
            "load_before": load(),
        },
        "versions": {
            "Python": platform.python_version(),
            **{name: metadata.version(name) for name in dict.fromkeys([*_ALWAYS, *packages])},
            "PostgreSQL": servers.version(),
            "Valkey": str(found.get("valkey_version") or found["redis_version"]),
        },
    }


def commit() -> dict[str, Any]:
    """The commit of the code, and whether something was changed since; None without a checkout.

    Results that were written meanwhile change nothing of what is measured.
    """
    try:
        head = _git("rev-parse", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", _RESULTS)
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "changed": None}
    return {"commit": head, "changed": bool(changed)}


def commit_of(results: Mapping[str, Any]) -> str:
    """The same in words."""
    if results.get("commit") is None:
        return "not known"
    return f"`{results['commit'][:12]}`{', with changes' if results['changed'] else ''}"


def load() -> float:
    """How many processes want a processor now, as the system has it over a minute."""
    return round(os.getloadavg()[0], 1)


def about(results: Mapping[str, Any]) -> str:
    """The same as a list for a page."""
    machine = results["machine"]
    loads = f"load {machine['load_before']} before"
    if "load_after" in machine:
        loads += f" and {machine['load_after']} after"
    facts = {
        "When and where": f"{results['date']}; {machine['cores']} cores, {machine['processor']},"
        f" {machine['memory']}, {machine['system']}; {loads}.",
        "Command": f"`{results['command']}`; it took {results['minutes']} minutes.",
        # Figures that were kept before have none.
        **({"Commit": f"{commit_of(results)}."} if "commit" in results else {}),
        "Versions": ", ".join(f"{name} {is_}" for name, is_ in results["versions"].items()) + ".",
        "In brackets": "the 95 % interval of a median, by drawing the values anew"
        f" (seed {results['seed']}); where there are no brackets there were too few values.",
    }
    return "\n".join(f"* **{name}:** {fact}" for name, fact in facts.items())


def _git(*arguments: str) -> str:
    command = ["git", *arguments]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _processor() -> str:
    file = Path("/proc/cpuinfo")
    lines = file.read_text("utf-8").splitlines() if file.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
