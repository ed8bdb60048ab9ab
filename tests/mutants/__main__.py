"""Take away one guard at a time: ``make mutants``, ``make mutants ARGS='--only fence'``.

Each guard that the invariants need must have a test that turns red without it. Mutants are made in
copies; the working tree is not touched.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import groupby

import click

from breakbulk.embedded import EmbeddedPostgres, scratch_directory
from tests.mutants import table, trial
from tests.mutants.table import Guard, Mismatch
from tests.mutants.trial import Trial, Verdict
from tests.support.servers import TEST_SETTINGS

_LEAST_PATIENCE = 15.0


class Mutants:
    """Some guards, each to be taken away.

    Args:
        chosen: which.
        postgres: URL of a server on which the tests may create databases.
        pool: as many at a time as it has threads.
    """

    def __init__(self, chosen: Sequence[Guard], postgres: str, pool: ThreadPoolExecutor) -> None:
        self._chosen = chosen
        self._postgres = postgres
        self._pool = pool

    def must_be_green(self) -> float:
        """Run all named tests on the code as it is; how long the slowest of them took.

        Raises:
            Mismatch: one of them does not pass.
        """
        slowest = 0.0
        tests = sorted({test for guard in self._chosen for test in guard.tests})
        files = [list(found) for _, found in groupby(tests, lambda test: test.partition("::")[0])]
        _say(f"{len(tests)} tests in {len(files)} files, first with all guards in their places.")
        with trial.copy() as directory:
            sessions = self._pool.map(
                lambda named: trial.run(directory, named, "breakbulk", self._postgres), files
            )
            for session, named in zip(sessions, files, strict=True):
                red = session.red or [test for test in named if not session.of(test)]
                if red:
                    _say(session.output)
                    raise Mismatch(f"Not green with all guards in their places: {', '.join(red)}.")
                slowest = max(slowest, session.slowest)
        return slowest

    def trials(self, patience: float) -> list[Trial]:
        """Take them away, one at a time; in the order of the table."""
        waiting = {
            self._pool.submit(trial.try_without, guard, self._postgres, patience): place
            for place, guard in enumerate(self._chosen)
        }
        done: dict[int, list[Trial]] = {}
        for future in as_completed(waiting):
            done[waiting[future]] = future.result()
            for one in future.result():
                _say(f"{len(done)}/{len(waiting)}  {one.guard.id}: {one.verdict} {one.remark}")
        return [one for place in sorted(done) for one in done[place]]


@click.command()
@click.option("--only", multiple=True, metavar="WORD", help="Only guards with this in their id.")
@click.option("--jobs", default=(os.cpu_count() or 1) + 1, help="Mutants at a time.")
@click.option("--json", "as_json", is_flag=True, help="Print the table as JSON.")
def main(*, only: Sequence[str], jobs: int, as_json: bool) -> None:
    """Take away one guard at a time; exit 1 if a test of it does not turn red."""
    began = time.monotonic()
    try:
        chosen = _chosen(only)
        with (
            scratch_directory("breakbulk-mutants-") as home,
            EmbeddedPostgres(home / "postgres", settings=TEST_SETTINGS) as server,
            ThreadPoolExecutor(jobs) as pool,
        ):
            mutants = Mutants(chosen, server.url, pool)
            slowest = mutants.must_be_green()
            # In vain no test need wait for as long as it might for what comes.
            trials = mutants.trials(patience=max(_LEAST_PATIENCE, 2 * slowest))
    except Mismatch as mismatch:
        _say(str(mismatch))
        sys.exit(1)
    if as_json:
        click.echo(json.dumps([one.as_dict() for one in trials], indent=2))
    else:
        click.echo(_drawn(trials))
    alive = sorted({one.guard.id for one in trials if one.verdict is not Verdict.KILLED})
    took = time.monotonic() - began
    _say(f"{len(chosen) - len(alive)} of {len(chosen)} mutants were killed, in {took:.0f} s.")
    if alive:
        _say(f"Not killed: {', '.join(alive)}.")
        sys.exit(1)


def _chosen(only: Sequence[str]) -> list[Guard]:
    """The guards that are meant, each of them found in the code.

    Raises:
        Mismatch: there is none, or one is not where the table says.
    """
    chosen = [one for one in table.guards() if not only or any(word in one.id for word in only)]
    if not chosen:
        raise Mismatch(f"No guard has {' or '.join(only)} in its id.")
    for guard in chosen:
        guard.mutated()
    return chosen


def _drawn(trials: Sequence[Trial]) -> str:
    rows = [
        (one.guard.id, one.test.rpartition("::")[2], str(one.verdict), f"{one.seconds:.1f}")
        for one in trials
    ]
    rows.insert(0, ("guard", "test", "", "seconds"))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = ["  ".join([*map(str.ljust, row, widths), row[3].rjust(7)]) for row in rows]
    return "\n".join(lines)


def _say(sentence: str) -> None:
    # What the table is not: it may be read by a program.
    click.echo(sentence.rstrip(), err=True)


if __name__ == "__main__":
    main()
