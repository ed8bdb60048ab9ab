"""What type checkers see of a job."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).parents[2]

# mypy looks at decorators that are functions, not at methods of an object: ``bulk.job`` is
# understood by pyright alone.
_TYPED = """
from decimal import Decimal
from typing import Any
from sqlalchemy import Select, select
import breakbulk
from breakbulk import Breakbulk, Chunk, FinishedRun

bulk = Breakbulk("sqlite://")

@breakbulk.job(chunk_size=5)
class Prices:
    rate: Decimal
    limit: int = 5

    def source(self) -> Select[Any]:
        return select()

    def process(self, chunk: Chunk[Any]) -> None:
        reveal_type(chunk.session)

    def finished(self, run: FinishedRun) -> None:
        reveal_type(run.summary.rows_done)

@breakbulk.job
class Bare:
    rate: Decimal

@bulk.job
class Bound: ...

@bulk.job(chunk_size=5)
class BoundToo: ...

bulk.submit(Bound())                # right
bulk.submit(BoundToo())             # right
Prices(rate=Decimal(1), limit=2)    # right
Bare(rate=Decimal(1))               # right
reveal_type(Prices(rate=Decimal(1)).limit)
Prices(rate=Decimal(1), limit="2")  # wrong
Prices(limit=2)                     # wrong
Prices(Decimal(1))                  # wrong
Prices(rate=Decimal(1), rat=1)      # wrong
Prices(rate=Decimal(1)).limit = 3   # wrong
Bare()                              # wrong
breakbulk.job(chunk_size="5")       # wrong
bulk.job(size=5)                    # wrong
"""


def test_type_checkers_know_the_parameters(tmp_path: Path) -> None:
    file = tmp_path / "typed.py"
    file.write_text(_TYPED)
    done = subprocess.run(
        # By a relative name: mypy's cache remembers by which name it saw the same text before.
        [
            *(sys.executable, "-m", "mypy", "--strict", "--no-error-summary"),
            *("--cache-dir", str(_ROOT / ".mypy_cache"), file.name),
        ],
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(_ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    told = [line for line in done.stdout.splitlines() if line.startswith(file.name)]
    errors = {int(line.split(":")[1]) for line in told if "error:" in line}
    lines = _TYPED.splitlines()
    wrong = {number for number, line in enumerate(lines, 1) if "# wrong" in line}
    assert errors == wrong, done.stdout
    assert '"sqlalchemy.orm.session.Session"' in done.stdout
    assert sum("Revealed type is" in line and "int" in line for line in told) == 2
