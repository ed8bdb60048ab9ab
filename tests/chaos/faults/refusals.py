"""A database that is there and refuses: full, read-only, impatient, or with too many guests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import NullPool, create_engine, make_url, text

from breakbulk import RunStatus
from breakbulk.domain.status import FINISHED
from tests.chaos.faults.databases import STEWARD
from tests.support.effort import sit_out
from tests.support.fault import Fault, fault

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from tests.support.arena import Arena
    from tests.support.disks import Disk
    from tests.support.sight import Sight

#: How long it refuses, in seconds.
_AWAY = 3.0
#: Until the work goes on, at most: a lane that could not sign off is in the way for a while.
_SECONDS = _AWAY + 8.0
#: Rows after which the run can be said to go on.
_SEVERAL = 50


def tell(url: str, *statements: str) -> None:
    """Tell a server something, each in a transaction of its own."""
    engine = create_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with engine.connect() as connection:
        for statement in statements:
            connection.execute(text(statement))


def resume_if_held(arena: Arena) -> None:
    """What an operator does who has put the cause right."""
    run = arena.runs[-1]
    before = arena.look(run).rows_done

    def goes_on() -> bool:
        if run.status() is RunStatus.HELD:
            assert "the database takes no writes" in str(run.record().reason)
            run.resume()
        # By several chunks: a lane may be about to hold it still.
        return arena.look(run).rows_done > before + _SEVERAL or run.status() in FINISHED

    arena.until(goes_on, message="the run to go on")


@fault(seconds=_SECONDS, complaints={STEWARD, "read-only transaction"}, breaks={"postgres"})
def a_read_only_database(arena: Arena, _sight: Sight) -> Iterator[Collection[int]]:
    """As after a failover to a server that may not write yet."""
    url = arena.stage.config.database
    _set(url, "default_transaction_read_only = on")
    yield ()
    _until_refused(arena, "read-only transaction")
    sit_out(arena, _AWAY)
    _reset(url)
    resume_if_held(arena)


@fault(seconds=_SECONDS, complaints={STEWARD, "statement timeout"}, breaks={"postgres"})
def a_statement_timeout(arena: Arena, _sight: Sight) -> Iterator[Collection[int]]:
    """Somebody holds the lock that carving needs for longer than statements may take."""
    stage = arena.stage
    carves = stage.bulk.runtime.database.schema.carves.fullname
    _set(stage.config.database, "statement_timeout = '200ms'")
    with stage.engine.begin() as connection:
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(text(f"SELECT * FROM {carves} FOR UPDATE"))
        yield ()
        _until_refused(arena, "statement timeout")
        sit_out(arena, _AWAY)
    _reset(stage.config.database)


def a_full_disk(disk: Disk) -> Fault:
    """The disk that the database is on has not a byte left."""

    @fault(seconds=_SECONDS, complaints={STEWARD, "No space left"})
    def a_full_disk(arena: Arena, _sight: Sight) -> Iterator[Collection[int]]:
        disk.fill()
        yield ()
        _until_refused(arena, "No space left")
        sit_out(arena, _AWAY)
        disk.clear()
        resume_if_held(arena)

    return a_full_disk


def too_many_connections(server: str, role: str) -> Fault:
    """The workers' role may have two connections, for six processes that want one each."""

    @fault(seconds=_SECONDS, complaints={STEWARD, "too many connections"})
    def too_many_connections(arena: Arena, _sight: Sight) -> Iterator[Collection[int]]:
        tell(server, f"ALTER ROLE {role} CONNECTION LIMIT 2", end_sessions_of(role))
        yield ()
        _until_refused(arena, "too many connections")
        sit_out(arena, _AWAY)
        tell(server, f"ALTER ROLE {role} CONNECTION LIMIT -1")

    return too_many_connections


def end_sessions_of(role: str) -> str:
    """The statement that does it."""
    return f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'"


def _set(url: str, setting: str) -> None:
    """Change a setting for everybody, sessions that there are included."""
    tell(url, f"ALTER SYSTEM SET {setting}", "SELECT pg_reload_conf()")


def _reset(url: str) -> None:
    own = make_url(url).update_query_dict({"options": "-c default_transaction_read_only=off"})
    tell(
        own.render_as_string(hide_password=False),
        "ALTER SYSTEM RESET ALL",
        "SELECT pg_reload_conf()",
    )


def _until_refused(arena: Arena, words: str) -> None:
    """Wait until a worker has been told so."""

    def told() -> bool:
        return any(words in worker.log() for worker in arena.fleet.members)

    arena.until(told, message=f"a worker to hear {words!r}")


ALL = (a_read_only_database, a_statement_timeout)
