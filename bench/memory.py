"""Peak memory of submitter and workers, for a thousand rows and for a million."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import psutil

from bench import shop
from bench.figures import Findings
from bench.stage import Stage

SIZES = (1_000, 1_000_000)
PAIRS = 1


def measure(stage: Stage, pairs: int | None) -> Findings:
    """Run the same job over both, each time in new processes."""
    for size in SIZES:
        stage.narrow(size)
    submitters: dict[int, list[float]] = {size: [] for size in SIZES}
    workers: dict[int, list[float]] = {size: [] for size in SIZES}
    for _ in range(pairs or PAIRS):
        for size in SIZES:
            with stage.worker() as worker:
                submitters[size].append(stage.python("bench.memory", str(size)))
                family = [worker, *worker.children(recursive=True)]
                workers[size].append(max(peak(process.pid) for process in family))
    found = Findings("memory", "peak resident memory; of the workers, the process with the most")
    for name, peaks in (("submitter", submitters), ("worker", workers)):
        small, large = (peaks[size] for size in SIZES)
        found.ratios(f"{name}: 1,000,000 rows / 1,000 rows", large, small, limit=1.10)
        for size in SIZES:
            found.add(f"{name}: {size:,} rows", "MB", peaks[size])
    return found


def peak(pid: int) -> float:
    """Peak resident memory of a process, in MB."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    (line,) = (line for line in lines if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def main() -> None:
    """Be a submitter that waits for its run; print the peak of this process in MB."""
    run = shop.bulk.submit(shop.Touch(rows=int(sys.argv[1])), overlap="allow")
    run.wait(timeout=3600).raise_for_status()
    print(json.dumps(peak(psutil.Process().pid)))


if __name__ == "__main__":
    main()
