"""A lane that dies exactly between two of its steps: nothing is lost, nothing is done twice.

The process is stopped at the failpoint, looked at from outside, and killed there.
"""

from __future__ import annotations

import signal
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from sqlalchemy import create_engine, insert, select, text

from breakbulk import RunStatus
from tests.support.databases import fresh_postgres
from tests.support.failpoints import Failpoint
from tests.support.waiting import wait_for
from tests.support.warehouse import Base, Notice, Product

if TYPE_CHECKING:
    from breakbulk import RunHandle
    from tests.support.servers import Servers
    from tests.support.stage import Stage
    from tests.support.stages import Stages

_ROWS = 200
_CHUNKS = 8
#: What Celery says in its own log when a process of its pool is killed.
_CELERY = ("WorkerLostError", "Process 'ForkPoolWorker")


@dataclass(frozen=True)
class Sight:
    """What can be seen of a lane that stands still.

    Attributes:
        status: of its run.
        done: chunks that have been committed.
        transaction: whether it is in one.
        written: whether that has written to the team's tables; SQLite does not tell.
    """

    status: RunStatus
    done: int
    transaction: bool
    written: bool | None


@dataclass(frozen=True)
class Window:
    """Where to die: the how-manieth time the failpoint is reached, and what is to be seen then."""

    name: str
    at: int
    sight: Sight


_RUNNING, _FINISHING, _SUCCEEDED = RunStatus.RUNNING, RunStatus.FINISHING, RunStatus.SUCCEEDED
_WINDOWS = [
    # The first time it takes one chunk, to learn how long that takes.
    Window("after carve", 2, Sight(_RUNNING, 1, transaction=False, written=False)),
    # Its transaction is begun when it asks for it, which here is for its first row.
    Window("before work", 3, Sight(_RUNNING, 2, transaction=False, written=False)),
    Window("before commit", 3, Sight(_RUNNING, 2, transaction=True, written=True)),
    Window("after commit", 3, Sight(_RUNNING, 3, transaction=False, written=False)),
    Window("before callback", 1, Sight(_FINISHING, _CHUNKS, transaction=True, written=False)),
    Window("after callback", 1, Sight(_FINISHING, _CHUNKS, transaction=True, written=True)),
    Window("after finish", 1, Sight(_SUCCEEDED, _CHUNKS, transaction=False, written=False)),
]
_ALWAYS = {"before commit", "after commit", "after callback"}
_MARKED = [
    one if one.name in _ALWAYS else pytest.param(one, marks=pytest.mark.thorough)
    for one in _WINDOWS
]


@pytest.mark.parametrize(
    "database", ["postgres", pytest.param("sqlite", marks=pytest.mark.thorough)]
)
@pytest.mark.parametrize("window", _MARKED, ids=lambda window: window.name.replace(" ", "-"))
def test_a_death_in_a_window(
    request: pytest.FixtureRequest,
    valkey_url: str,
    set_stage: Stages,
    tmp_path: Path,
    database: str,
    window: Window,
) -> None:
    url = request.getfixturevalue(f"{database}_url")
    stage = set_stage(
        url,
        valkey_url,
        job={"chunk_size": _ROWS // _CHUNKS, "retry_delay": 0},
        # A lease so long that nobody can have waited for it.
        knobs={"lease_seconds": 600.0},
    )
    stage.fill(_ROWS)
    failpoint = Failpoint(window.name, str(tmp_path), at=window.at, signal=signal.SIGSTOP)
    worker = stage.worker(concurrency=1, failpoint=failpoint)
    run = stage.submit()
    victim = psutil.Process(failpoint.victim())
    assert victim.ppid() == worker.pid, "a process of the pool was struck, and no other"
    wait_for(lambda: victim.status() == psutil.STATUS_STOPPED, message="it to stand still")
    seen = _look(stage, run, victim.pid)
    victim.kill()
    stage.until_succeeded(run)
    stage.judge(run, rows=_ROWS, complaints=_CELERY)
    if database == "sqlite":
        # A chunk has its turn to write from the beginning.
        begun = window.sight.transaction or window.name == "before work"
        assert seen == replace(window.sight, transaction=begun, written=None)
    else:
        assert seen == window.sight
    in_callback = window.sight.done == _CHUNKS
    assert sorted(stage.attempts(run).values()) == ([] if in_callback else [2]), "one chunk pays"
    assert run.record().finish_attempt == (2 if window.sight.status is _FINISHING else 1)


@pytest.mark.thorough
def test_a_death_between_two_databases(
    postgres_url: str,
    valkey_url: str,
    test_servers: Servers,
    set_stage: Stages,
    tmp_path: Path,
) -> None:
    """At least once, as it was agreed upon: the chunk is done again, and no other one."""
    with fresh_postgres(test_servers.postgres) as elsewhere:
        stage = set_stage(
            postgres_url,
            valkey_url,
            job={"chunk_size": _ROWS // _CHUNKS, "retry_delay": 0},
            knobs={"lease_seconds": 600.0, "data": elsewhere, "at_least_once": True},
        )
        rows = create_engine(elsewhere)
        Base.metadata.create_all(rows)
        with rows.begin() as connection:
            connection.execute(insert(Product), [{"id": n, "name": ""} for n in range(_ROWS)])
        failpoint = Failpoint("between two databases", str(tmp_path), at=3)
        stage.worker(concurrency=1, failpoint=failpoint)
        run = stage.submit()
        failpoint.victim()
        stage.until_succeeded(run)
        assert run.audit().clean
        with rows.connect() as connection:
            versions = Counter(connection.execute(select(Product.version)).scalars())
            notices = list(connection.execute(select(Notice.run)).scalars())
        assert notices == [run.id], "called back once, where the rows are"
        assert versions == {1: _ROWS - _ROWS // _CHUNKS, 2: _ROWS // _CHUNKS}
        stage.finish()
        rows.dispose()


@pytest.mark.thorough
def test_a_writer_that_is_frozen_on_sqlite_is_named(
    sqlite_url: str, valkey_url: str, set_stage: Stages, tmp_path: Path
) -> None:
    """Nobody can end its session there, so a human has to; nothing needs to be written for that."""
    stage = set_stage(sqlite_url, valkey_url, job={"chunk_size": _ROWS // _CHUNKS})
    stage.fill(_ROWS)
    failpoint = Failpoint("before commit", str(tmp_path), at=3, signal=signal.SIGSTOP)
    stage.worker(failpoint=failpoint)
    run = stage.submit()
    frozen = failpoint.victim()
    named = f"process {frozen}, which is stopped, holds SQLite's only writer"
    wait_for(lambda: run.progress().waits == named, message="the run to say so")
    assert named in stage.breakbulk("status", str(run.id))
    told = stage.breakbulk("doctor", code=1)
    assert f"Process {frozen} is stopped and holds SQLite's only writer" in told
    assert f"kill -CONT {frozen}" in told
    psutil.Process(frozen).resume()
    stage.until_succeeded(run)
    stage.judge(run, rows=_ROWS)
    assert not stage.attempts(run), "it came back in time for nobody to notice"


def _look(stage: Stage, run: RunHandle, victim: int) -> Sight:
    """Look at a lane from outside, while it stands still."""
    done = len(stage.chunk_statuses(run, "succeeded"))
    status = run.status()
    if stage.engine.dialect.name == "sqlite":
        return Sight(status, done, transaction=_writes(stage, victim), written=None)
    lanes = stage.bulk.runtime.database.schema.lanes.fullname
    with stage.engine.connect() as connection:
        session = connection.execute(
            text(
                "SELECT pid, state FROM pg_stat_activity WHERE application_name ="
                f" (SELECT 'breakbulk lane ' || token FROM {lanes} WHERE pid = :pid)"
            ),
            {"pid": victim},
        ).one()
        written = connection.execute(
            text(
                "SELECT count(*) FROM pg_locks WHERE pid = :pid AND mode = 'RowExclusiveLock'"
                " AND relation IN ('products'::regclass, 'notices'::regclass)"
            ),
            {"pid": session.pid},
        ).scalar_one()
    return Sight(status, done, transaction=session.state != "idle", written=bool(written))


def _writes(stage: Stage, victim: int) -> bool:
    """Whether a process holds the lock of SQLite's writer: https://sqlite.org/walformat.html."""
    inode = Path(f"{stage.engine.url.database}-shm").stat().st_ino
    for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
        _number, kind, _advisory, mode, pid, file, start, _end = line.split()[:8]
        if (kind, mode, pid, start) == ("POSIX", "WRITE", str(victim), "120"):
            return file.rpartition(":")[2] == str(inode)
    return False
