"""One run of one contestant: a fresh database, its own processes, its time, the judgement."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from redis import Redis

from bench import shop
from bench.cpu import cpu_seconds, postmaster
from bench.gauge import Gauge
from bench.peers import work
from bench.servers import Servers
from bench.stage import ROOT, Stage

PATIENCE = 1800.0
_STOP_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Event:
    """What is to be done.

    Attributes:
        function: of `bench.peers.work`, called for each chunk.
        chunks: how many.
    """

    function: str
    chunks: int


@dataclass(frozen=True, slots=True)
class Run:
    """What came of it.

    Attributes:
        contestant: its name.
        function: see `Event`.
        chunks: likewise.
        round: from 1.
        wrong: what plain SQL found, or why it did not end; empty if all was well. Then there
            are no figures.
        seconds: by the clock, from the call that hands in until the end is known.
        submit: seconds until that call returned.
        workers: CPU seconds of worker processes, the submitter's and a scheduler's included.
        database: CPU seconds of all of PostgreSQL's processes.
        broker: CPU seconds of the broker.
        submitter: peak memory of the submitting process, in MB.
        messages: how much more memory the broker used at most, in MB.
    """

    contestant: str
    function: str
    chunks: int
    round: int
    wrong: str = ""
    seconds: float | None = None
    submit: float | None = None
    workers: float | None = None
    database: float | None = None
    broker: float | None = None
    submitter: float | None = None
    messages: float | None = None


@dataclass(frozen=True, slots=True)
class Ground:
    """Where they compete.

    Attributes:
        servers: PostgreSQL and the broker.
        scratch: a directory for logs and for what a contestant writes.
        rows: of the table of products.
        templates: for each function the database that each run gets a copy of.
    """

    servers: Servers
    scratch: Path
    rows: int
    templates: dict[str, str]

    def compete(self, contestant: str, event: Event, number: int) -> Run:
        """Run once; what goes wrong is part of the result."""
        self.servers.empty_broker()
        facts = (contestant, event.function, event.chunks, number)
        with self.servers.database(self.templates[event.function]) as url:
            stage = Stage(url, self.servers.broker)
            stage.run("CHECKPOINT")
            environment = {**stage.environment, work.SCRATCH: str(self.scratch)}
            try:
                figures = _measure(stage, contestant, event, environment, self.scratch)
            except _Failed as failed:
                return Run(*facts, wrong=str(failed))
            wrong = _judge(stage) if event.function == "score" else ""
            return Run(*facts, wrong=wrong, **({} if wrong else figures))


@contextmanager
def ground(
    servers: Servers, scratch: Path, *, rows: int, nothing: Iterable[int]
) -> Iterator[Ground]:
    """Build the two databases that all runs get a copy of.

    Args:
        rows: products in the one.
        nothing: numbers of chunks that do nothing, whose rows are in the other.
    """
    with servers.database() as products, servers.database() as narrow:
        with _built(products, servers) as stage:
            found = stage.products(rows)
            stage.run(
                "INSERT INTO product SELECT * FROM catalogue ORDER BY id",
                "DROP TABLE catalogue",
                "VACUUM (FREEZE, ANALYZE) product",
            )
        with _built(narrow, servers) as stage:
            shop.Base.metadata.create_all(stage.engine)
            for chunks in sorted(set(nothing)):
                stage.narrow(chunks * shop.ROWS_A_CHUNK)
        yield Ground(
            servers,
            scratch,
            found,
            {"score": _name(products), "nothing": _name(narrow)},
        )


@contextmanager
def _built(url: str, servers: Servers) -> Iterator[Stage]:
    stage = Stage(url, servers.broker)
    stage.run(*work.TABLES)
    stage.narrow(1000)
    yield stage


def _name(url: str) -> str:
    return url.rpartition("/")[2].partition("?")[0]


class _Failed(Exception):
    """A run that has not come to its end; says why."""


def _measure(
    stage: Stage, contestant: str, event: Event, environment: dict[str, str], scratch: Path
) -> dict[str, Any]:
    driver = [sys.executable, "-m", "bench.peers.drive", contestant]
    log = scratch / f"{contestant}.log"
    with log.open("ab") as output:
        prepared = subprocess.run(
            [*driver, "prepare"],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=output,
            check=False,
        )
        if prepared.returncode:
            raise _Failed(f"its tables cannot be made: {_last_line(log)}")
        commands: Sequence[Sequence[str]] = json.loads(prepared.stdout.splitlines()[-1])
        with _crew(commands, environment, output) as crew:
            arguments = ("run", event.function, str(event.chunks), str(PATIENCE))
            submitter = subprocess.Popen(
                [*driver, *arguments],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                text=True,
            )
            with submitter:
                return _told(stage, submitter, crew, log)


def _told(
    stage: Stage, submitter: subprocess.Popen[str], crew: Sequence[psutil.Process], log: Path
) -> dict[str, float]:
    assert submitter.stdin is not None
    assert submitter.stdout is not None
    if submitter.stdout.readline() != "warm\n":
        raise _Failed(f"it did not come to work: {_last_line(log)}")
    server = postmaster(stage.url)
    family = [*crew, psutil.Process(submitter.pid)]
    with Gauge(stage.broker) as gauge:
        before = _cpu(family), cpu_seconds(server), _broker_cpu(stage.broker)
        submitter.stdin.write("go\n")
        submitter.stdin.flush()
        line = submitter.stdout.readline()
        after = _cpu(family), cpu_seconds(server), _broker_cpu(stage.broker)
    if not line:
        raise _Failed(f"it did not come to its end: {_last_line(log)}")
    workers, database, broker = (end - start for start, end in zip(before, after, strict=True))
    figures: dict[str, float] = json.loads(line)
    return {
        **figures,
        "workers": workers,
        "database": database,
        "broker": broker,
        "messages": gauge.grown,
    }


def _cpu(family: Sequence[psutil.Process]) -> float:
    total = 0.0
    for process in family:
        with suppress(psutil.NoSuchProcess):
            total += cpu_seconds(process)
    return total


def _broker_cpu(url: str) -> float:
    with Redis.from_url(url) as client:
        found: Any = client.info("cpu")
    return float(found["used_cpu_user"]) + float(found["used_cpu_sys"])


@contextmanager
def _crew(
    commands: Sequence[Sequence[str]], environment: dict[str, str], output: Any
) -> Iterator[list[psutil.Process]]:
    started: list[subprocess.Popen[bytes]] = []
    try:
        started += [
            subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
            for command in commands
        ]
        yield [psutil.Process(process.pid) for process in started]
    finally:
        for process in reversed(started):
            process.terminate()
        for process in reversed(started):
            try:
                process.wait(timeout=_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                # With its children: nobody may work beside the next contestant.
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, 9)
                process.wait()


def _judge(stage: Stage) -> str:
    missed, twice = (
        stage.ask(f"SELECT count(*) FROM product WHERE changes {condition}")
        for condition in ("= 0", "> 1")
    )
    parts = [f"{missed:,} rows missed"] if missed else []
    return " and ".join(parts + ([f"{twice:,} rows twice"] if twice else []))


def _last_line(log: Path) -> str:
    lines = log.read_text("utf-8", errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else "without a word"
