"""What the measurements would find, by the names that they give it, in no time.

In a process of its own, ``python -m tests.support.benched``, because the benchmark's application
declares jobs, which every other application of a process would have, too.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from contextlib import ExitStack, nullcontext
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from bench import claims, lanes, latency, ledger
from bench.stage import LARGE


def main() -> None:
    """Print what they found as JSON."""
    stage: Any = SimpleNamespace(
        quick=False,
        large=LARGE,
        lanes=(),
        size=lambda full: full,
        narrow=lambda _rows: None,
        run=lambda *_: None,
        worker=nullcontext,
    )
    cost = lanes.Cost(0.9, 100.0, 2.0, 2.0, 0.1, 3.0, 0.05, 4.0)
    ends = {"callback": 0.01, "ended": 0.01, "noticed": 0.01}
    with ExitStack() as stack:
        for module, name, instead in (
            (lanes, "_run", lambda *_: cost),
            (claims, "_run", lambda *_: [100.0] * 10),
            (claims, "bare_rate", lambda *_: 200.0),
            (claims, "pin", nullcontext),
            (latency, "_pause", lambda *_: None),
            (latency, "_to_first", lambda *_: 0.05),
            (latency, "_to_end", lambda *_: ends),
            (ledger, "_growth", lambda *_: defaultdict(lambda: (1000, 100))),
            (ledger, "_wal", lambda *_: 0.0),
        ):
            stack.enter_context(patch.object(module, name, instead))
        found = [one.measure(stage, 1).as_dict() for one in (lanes, claims, latency, ledger)]
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
