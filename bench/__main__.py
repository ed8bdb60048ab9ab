"""The command line: ``python -m bench [names…]``."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path

from bench import canvas, catalogue, latency, memory, noop, pages, real, sparse, submit
from bench.figures import Findings, markdown
from bench.servers import servers
from bench.stage import Stage, stage

MEASUREMENTS: dict[str, Callable[[Stage, int | None], Findings]] = {
    "real": real.measure,
    "noop": noop.measure,
    "submit": submit.measure,
    "latency": latency.measure,
    "memory": memory.measure,
    "sparse": sparse.measure,
    "pages": pages.measure,
    "canvas": canvas.measure,
}


def main() -> None:
    """Measure what was asked for and print it; the exit status says nothing about the targets."""
    if sys.argv[1:2] == ["faults"]:
        # Imported only here, because it needs the peers' packages.
        from bench.faults.command import main as faults

        faults(sys.argv[2:])
        return
    parser = argparse.ArgumentParser("python -m bench", description="Measure Breakbulk.")
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(MEASUREMENTS))
    parser.add_argument("--pairs", type=int, help="repetitions of each measurement")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the figures there, and a page beside it"
    )
    options = parser.parse_args()
    if unknown := sorted(set(options.names) - set(MEASUREMENTS)):
        parser.error(f"there is no {' or '.join(unknown)}; there are {', '.join(MEASUREMENTS)}")
    if options.pairs is not None and options.pairs < 1:
        parser.error("--pairs must be at least 1")
    catalogue.check()
    findings = []
    with servers() as found, stage(found) as made:
        machine = (
            f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
        )
        version = found.version()
        print(f"{machine}, PostgreSQL {version}", flush=True)
        for name in options.names or MEASUREMENTS:
            findings.append(MEASUREMENTS[name](made, options.pairs))
            findings[-1].show()
    if options.json:
        machine, command = (
            f"{machine}, PostgreSQL {version}",
            f"python -m bench {' '.join(sys.argv[1:])}",
        )
        figures = {
            "machine": machine,
            "command": command,
            "findings": [one.as_dict() for one in findings],
        }
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
        page = markdown(machine, command, findings)
        options.json.with_suffix(".md").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
