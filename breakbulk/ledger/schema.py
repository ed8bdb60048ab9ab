"""The ledger's tables.

They live in a schema of their own on PostgreSQL and behind a prefix on SQLite, and in a
``MetaData`` of their own. ``bulk.include_name`` keeps the user's ``alembic revision
--autogenerate`` from taking them for tables to be dropped. What is written for each chunk is
chosen with care (``docs/explanation/ledger.md``):

* a chunk row is inserted when it is carved and updated once, when it ends, by its primary key;
* no row is updated for each chunk: behind a long transaction its dead versions would pile up;
* the only index that a chunk needs beside its key holds the chunks that are *not* done.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Double,
    Float,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    and_,
    false,
    literal,
    or_,
    text,
)

from breakbulk.domain.chunk import LONGEST_PATH
from breakbulk.domain.status import ChunkStatus
from breakbulk.ledger import (
    itemtables,
    outsidetables,
    resulttables,
    sizingtables,
    throttletables,
)
from breakbulk.ledger.sql import ID, Instant

#: The migration that these tables are the result of.
HEAD: Final = "0012"

_NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}
# Paths are compared byte by byte: the halves of a chunk must sort the same everywhere.
_PATH = String(LONGEST_PATH).with_variant(String(LONGEST_PATH, collation="C"), "postgresql")


class Schema:
    """All tables under one schema name.

    Args:
        name: schema on PostgreSQL, prefix elsewhere.
        flat: put the name in front of each table because the database has no schemas.
    """

    def __init__(self, name: str, *, flat: bool) -> None:
        self.name = name
        self.flat = flat
        self.metadata = MetaData(schema=None if flat else name, naming_convention=_NAMES)
        self.runs = self._runs()
        self.carves = self._carves()
        self.chunks = self._chunks()
        self.waiting = self._waiting()
        self.tallies = self._tallies()
        self.failures = self._failures()
        self.failure_tallies = self._failure_tallies()
        self.quarantine = self._quarantine()
        self.lanes = self._lanes()
        self.stays = self._stays()
        self.workers = self._workers()
        self.leader = self._leader()
        self.activity = self._activity()
        self.scalers = self._scalers()
        self.endpoints = outsidetables.endpoints(self.metadata, self.table_name("endpoints"))
        self.links = outsidetables.links(self.metadata, self.table_name("links"))
        self.events = outsidetables.events(self.metadata, self.table_name("events"))
        self.deliveries = outsidetables.deliveries(self.metadata, self.table_name("deliveries"))
        self.tries = outsidetables.tries(self.metadata, self.table_name("tries"))
        self.tokens = outsidetables.tokens(self.metadata, self.table_name("tokens"))
        self.items = itemtables.items(self.metadata, self.table_name("items"))
        self.loads = itemtables.loads(self.metadata, self.table_name("loads"))
        self.sizes = sizingtables.sizes(self.metadata, self.table_name("sizes"))
        self.results = resulttables.results(self.metadata, self.table_name("results"))
        self.item_states = resulttables.item_states(self.metadata, self.table_name("item_states"))
        self.throttles = throttletables.throttles(self.metadata, self.table_name("throttles"))
        self.allowances = throttletables.allowances(self.metadata, self.table_name("allowances"))

    def table_name(self, name: str) -> str:
        """The table's bare name as the database has it."""
        return f"{self.name}_{name}" if self.flat else name

    def open_chunks(self, statuses: Iterable[ChunkStatus] | None = None) -> ColumnElement[bool]:
        """The condition for chunks that are not done, or are in one of these statuses.

        Written out, not bound: a partial index is of use only where its condition can be seen
        when the statement is planned. SQLite never uses it otherwise.

        Args:
            statuses: succeeded not being among them.
        """
        status = self.chunks.c.status
        not_done = status != literal(str(ChunkStatus.SUCCEEDED), literal_execute=True)
        if statuses is None:
            return not_done
        wanted = [literal(str(one), literal_execute=True) for one in statuses]
        return and_(not_done, status.in_(wanted))

    def place(self, lane: ColumnElement[int]) -> ColumnElement[bool]:
        """The condition for a lane that its run has a place for, by its number."""
        runs = self.runs
        return and_(
            or_(runs.c.max_lanes.is_(None), runs.c.max_lanes > lane),
            or_(runs.c.throttled_to.is_(None), runs.c.throttled_to > lane),
        )

    @property
    def namespace(self) -> str | None:
        """The schema to give in DDL, None where there are no schemas."""
        return None if self.flat else self.name

    def _runs(self) -> Table:
        return Table(
            self.table_name("runs"),
            self.metadata,
            Column("id", ID, primary_key=True),
            Column("job", Text, nullable=False),
            Column("parameters", Text, nullable=False),
            Column("queue", Text, nullable=False),
            Column("status", Text, nullable=False),
            Column("reason", Text),
            # What the run will be once its callback has committed, when that is decided already.
            Column("outcome", Text),
            # It is cancelled with the chunks in hand.
            Column("forced", Boolean, nullable=False, server_default=false()),
            Column("round", Integer, nullable=False, server_default=text("1")),
            Column("submitted_at", Instant, nullable=False),
            Column("submitted_by", Text),
            Column("started_at", Instant),
            # When a lane came last: whoever has waited longest is next.
            Column("served_at", Instant),
            # Since when lanes could come, where something kept them off since its submit.
            Column("ready_at", Instant),
            Column("finished_at", Instant),
            Column("idempotency_key", Text),
            # Job and parameters while the run occupies their one place; NULL otherwise.
            Column("slot", Text),
            # Whether it has to have that place to itself whenever it goes on (overlap).
            Column("alone", Boolean, nullable=False),
            Column("parameters_hash", Text, nullable=False),
            Column("waits_for", BigInteger),
            # No lane is to come before: as the submit wanted it, or until somebody releases it.
            Column("not_before", Instant),
            Column("awaits", Boolean, nullable=False, server_default=false()),
            # When whoever submitted it wants it done: a wish, which those who scale workers go by.
            Column("finish_by", Instant),
            Column("fingerprint", Text, nullable=False),
            Column("key_names", Text, nullable=False),
            Column("until", Text),
            Column("rows_estimate", BigInteger),
            Column("chunk_size", Integer, nullable=False),
            # What a chunk is to take: they size themselves. NULL: all have the same size.
            Column("chunk_seconds", Float),
            Column("max_lanes", Integer),
            # On what it holds back, as JSON; NULL: on nothing.
            Column("throttle", Text),
            # Lanes that it may have for that reason at this moment; 0: it holds back.
            Column("throttled_to", Integer),
            # Retries, what becomes of what fails, how much may fail: as JSON.
            Column("policy", Text, nullable=False),
            # What the run was held for already: whoever resumes it has been told.
            Column("suspect", Text),
            # The callback is what failed, not the rows: it can be tried again by itself.
            Column("callback_failed", Boolean, nullable=False, server_default=false()),
            Column("at_least_once", Boolean, nullable=False),
            # Whether the job has a failed(): who has not its code must know whom to wait for.
            Column("has_failed", Boolean, nullable=False),
            # Who is calling back: a token for this attempt, and the lane it runs in.
            Column("finisher", Uuid),
            Column("finisher_lane", Uuid),
            Column("finish_attempt", Integer, nullable=False, server_default=text("0")),
            Column("finish_after", Instant),
            Column("summary", Text),
            # Of the submit: traceparent, and behind a blank tracestate, as W3C writes them.
            Column("trace", Text),
            UniqueConstraint("job", "idempotency_key"),
            UniqueConstraint("slot"),
            Index(
                f"ix_{self.table_name('runs')}_active",
                "queue",
                "status",
                postgresql_where=text("finished_at IS NULL"),
                sqlite_where=text("finished_at IS NULL"),
            ),
            # What operators look for.
            Index(None, "job", "id"),
            Index(
                f"ix_{self.table_name('runs')}_ended",
                "status",
                "id",
                postgresql_where=text("finished_at IS NOT NULL"),
                sqlite_where=text("finished_at IS NOT NULL"),
            ),
            Index(None, "submitted_by", "id"),
            Index(None, "submitted_at"),
            Index(
                f"ix_{self.table_name('runs')}_finished_at",
                "finished_at",
                postgresql_where=text("finished_at IS NOT NULL"),
                sqlite_where=text("finished_at IS NOT NULL"),
            ),
        )

    def _carves(self) -> Table:
        """One row a run, locked by everyone who changes which chunks exist.

        It is not the run's row, so an operator's pause never waits for a carve. Locking it
        changes nothing; it is written when a walk goes a long way without a match, and once
        when the source is exhausted.
        """
        return Table(
            self.table_name("carves"),
            self.metadata,
            Column("run_id", BigInteger, primary_key=True, autoincrement=False),
            Column("exhausted_at", Instant),
            Column("scout", Text),
            Column("walker", Uuid),
            Column("walker_until", Instant),
        )

    def _chunks(self) -> Table:
        return Table(
            self.table_name("chunks"),
            self.metadata,
            Column("run_id", BigInteger, primary_key=True, autoincrement=False),
            Column("number", Integer, primary_key=True, autoincrement=False),
            Column("path", _PATH, primary_key=True),
            Column("status", Text, nullable=False),
            # The fence: whoever knows the token may commit, nobody else.
            Column("owner", Uuid),
            Column("lane", Integer),
            Column("after", Text),
            Column("upto", Text, nullable=False),
            Column("rows", Integer, nullable=False),
            # Rows from the beginning up to and with this chunk: the frontier's row knows the total.
            Column("rows_upto", BigInteger, nullable=False),
            Column("attempt", SmallInteger, nullable=False),
            Column("losses", SmallInteger, nullable=False, server_default=text("0")),
            Column("snoozes", SmallInteger, nullable=False, server_default=text("0")),
            # Whole seconds: it fits where the row would have a gap.
            Column("troubled", SmallInteger, nullable=False, server_default=text("0")),
            Column("seconds", Float),
            Column("ended_at", Instant),
            Index(
                f"ix_{self.table_name('chunks')}_open",
                "run_id",
                "status",
                "number",
                "path",
                postgresql_where=text("status <> 'succeeded'"),
                sqlite_where=text("status <> 'succeeded'"),
            ),
        )

    def _waiting(self) -> Table:
        """Chunks to be claimed again, from a time on: retries, rescues, what was handed on."""
        return Table(
            self.table_name("waiting"),
            self.metadata,
            Column("run_id", BigInteger, primary_key=True, autoincrement=False),
            Column("number", Integer, primary_key=True, autoincrement=False),
            Column("path", _PATH, primary_key=True),
            Column("not_before", Instant, nullable=False),
            # It has been tried since it was carved, split or opened again.
            Column("tried", Boolean, nullable=False, server_default=false()),
            # It has had its tries: it is to be split, skipped or put in quarantine.
            Column("spent", Boolean, nullable=False, server_default=false()),
            Index(None, "run_id", "not_before"),
        )

    def _tallies(self) -> Table:
        """Progress, appended by lanes at most once a second, folded by the steward."""
        return Table(
            self.table_name("tallies"),
            self.metadata,
            Column("id", ID, primary_key=True),
            Column("run_id", BigInteger, nullable=False),
            Column("at", Instant, nullable=False),
            # Below 0: folded, by so many seconds.
            Column("lane", Integer, nullable=False),
            Column("chunks", Integer, nullable=False),
            Column("rows", BigInteger, nullable=False),
            Index(None, "run_id", "at"),
            # Those that are still to be folded: few, however long the history.
            Index(
                f"ix_{self.table_name('tallies')}_fresh",
                "at",
                postgresql_where=text("lane >= 0"),
                sqlite_where=text("lane >= 0"),
            ),
        )

    def _failures(self) -> Table:
        """Each attempt that raised or died."""
        return Table(
            self.table_name("failures"),
            self.metadata,
            Column("id", ID, primary_key=True),
            Column("run_id", BigInteger, nullable=False),
            Column("round", Integer, nullable=False),
            Column("at", Instant, nullable=False),
            # NULL: the callback failed, not a chunk.
            Column("number", Integer),
            Column("path", _PATH),
            Column("attempt", SmallInteger, nullable=False),
            Column("error", Text, nullable=False),
            Column("message", Text, nullable=False),
            Column("place", Text),
            Column("traceback", Text),
            Column("after", Text),
            Column("upto", Text),
            Column("rows", Integer),
            Column("worker", Text),
            Column("host", Text),
            Column("seconds", Float),
            Index(None, "run_id", "id"),
            # With the id, or the planner looks for a chunk's latest among everybody's.
            Index(None, "run_id", "number", "path", "id"),
            Index(None, "run_id", "error", "id"),
        )

    def _failure_tallies(self) -> Table:
        """How much fails, where and when: appended with each failure, folded by the steward."""
        return Table(
            self.table_name("failure_tallies"),
            self.metadata,
            Column("id", ID, primary_key=True),
            Column("run_id", BigInteger, nullable=False),
            Column("error", Text, nullable=False),
            Column("place", Text),
            Column("attempts", Integer, nullable=False),
            # Chunks, as they were carved, that had not failed like this before.
            Column("chunks", Integer, nullable=False),
            Column("first_at", Instant, nullable=False),
            Column("last_at", Instant, nullable=False),
            # The latest failure among them.
            Column("failure_id", BigInteger, nullable=False),
            # 0: not folded yet; else by so many seconds.
            Column("step", Integer, nullable=False, server_default=text("0")),
            Index(None, "run_id", "step"),
            Index(
                f"ix_{self.table_name('failure_tallies')}_fresh",
                "id",
                postgresql_where=text("step = 0"),
                sqlite_where=text("step = 0"),
            ),
        )

    def _quarantine(self) -> Table:
        """Rows that failed alone, to the end of their tries; each is a chunk of its own by then."""
        return Table(
            self.table_name("quarantine"),
            self.metadata,
            Column("id", ID, primary_key=True),
            Column("run_id", BigInteger, nullable=False),
            Column("number", Integer, nullable=False),
            Column("path", _PATH, nullable=False),
            Column("key", Text, nullable=False),
            Column("error", Text, nullable=False),
            Column("message", Text, nullable=False),
            Column("place", Text),
            Column("traceback", Text),
            Column("attempts", Integer, nullable=False),
            Column("round", Integer, nullable=False),
            Column("at", Instant, nullable=False),
            UniqueConstraint("run_id", "number", "path"),
            Index(None, "run_id", "id"),
        )

    def _lanes(self) -> Table:
        """Lanes at work now. The key caps them: a number is free or it is taken."""
        return Table(
            self.table_name("lanes"),
            self.metadata,
            Column("run_id", BigInteger, primary_key=True, autoincrement=False),
            Column("number", Integer, primary_key=True, autoincrement=False),
            Column("token", Uuid, nullable=False),
            Column("worker_id", Uuid, nullable=False),
            Column("pid", Integer, nullable=False),
            # Tells a process from a later one that was given the same number.
            Column("process_started", Double, nullable=False),
            Column("started_at", Instant, nullable=False),
            UniqueConstraint("token"),
            Index(None, "worker_id"),
        )

    def _stays(self) -> Table:
        """Stays of lanes that are over: who worked where, so that it is known of chunks done.

        A row is inserted when a lane leaves, some seconds' work later, and never changed.
        """
        return Table(
            self.table_name("stays"),
            self.metadata,
            Column("id", ID, primary_key=True),
            Column("run_id", BigInteger, nullable=False),
            Column("lane", Integer, nullable=False),
            # Of its worker, which may be forgotten by the time somebody asks; NULL: it was already.
            Column("host", Text),
            Column("pid", Integer, nullable=False),
            Column("started_at", Instant, nullable=False),
            Column("ended_at", Instant, nullable=False),
            Index(None, "run_id", "lane", "ended_at"),
        )

    def _workers(self) -> Table:
        return Table(
            self.table_name("workers"),
            self.metadata,
            Column("id", Uuid, primary_key=True),
            Column("host", Text, nullable=False),
            Column("pid", Integer, nullable=False),
            Column("slots", Integer, nullable=False),
            Column("pool", Text, nullable=False),
            Column("queues", Text, nullable=False),
            Column("jobs", Text, nullable=False),
            Column("version", Text, nullable=False),
            Column("registered_at", Instant, nullable=False),
            # Since when it has renewed without a gap: a stalled database makes everybody look
            # dead, so only a worker that was not stalled itself may judge others.
            Column("healthy_since", Instant, nullable=False),
            Column("lease_until", Instant, nullable=False),
            Column("draining", Boolean, nullable=False),
            # How it is set up, as far as anybody should look at it: JSON.
            Column("settings", Text),
        )

    def _leader(self) -> Table:
        return Table(
            self.table_name("leader"),
            self.metadata,
            Column("id", Integer, primary_key=True, autoincrement=False),
            Column("worker_id", Uuid),
            Column("lease_until", Instant),
        )

    def _activity(self) -> Table:
        """Who changed what about a run, when and why."""
        return Table(
            self.table_name("activity"),
            self.metadata,
            Column("id", ID, primary_key=True),
            Column("run_id", BigInteger, nullable=False),
            Column("at", Instant, nullable=False),
            Column("actor", Text, nullable=False),
            Column("verb", Text, nullable=False),
            Column("detail", Text),
            Index(None, "run_id", "id"),
        )

    def _scalers(self) -> Table:
        """Who scales a group of workers, and what it has seen; a row is written at each look."""
        return Table(
            self.table_name("scalers"),
            self.metadata,
            Column("name", Text, primary_key=True),
            Column("holder", Uuid),
            Column("lease_until", Instant),
            Column("state", Text, nullable=False),
        )


@lru_cache(maxsize=16)
def schema(name: str, *, flat: bool) -> Schema:
    """The tables under ``name``, built once."""
    return Schema(name, flat=flat)
