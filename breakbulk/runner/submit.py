"""Submitting and planning: what a run will be, written down in the caller's own transaction."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import partial
from typing import Any, Literal
from uuid import uuid4

from sqlalchemy import Connection, select
from sqlalchemy.exc import DBAPIError

from breakbulk.domain.chunk import Cut, RunId
from breakbulk.domain.failing import FailurePolicy
from breakbulk.domain.keys import Key, encode_key
from breakbulk.domain.nouns import CANVAS_JOB
from breakbulk.domain.run import Run
from breakbulk.domain.sizing import ChunkSize
from breakbulk.domain.status import ACTIVE
from breakbulk.domain.throttle import Limits
from breakbulk.errors import (
    ConfigurationError,
    IdempotencyConflict,
    OverlapError,
    ParameterError,
    SourceError,
)
from breakbulk.jobs import JobRun, JobSpec
from breakbulk.ledger.faults import Fault, fault_of
from breakbulk.ledger.loads import Producer
from breakbulk.ledger.runs import NewRun
from breakbulk.ledger.sql import LONGEST_WAIT, clock
from breakbulk.runner.limits import known_limits, lanes_of, throttle_of
from breakbulk.runner.runtime import Runtime, process_started
from breakbulk.sources import Items, Source

_SAMPLE = 5
_LOOKS = 5


class Overlap(StrEnum):
    """What to do when a run of the same job and parameters still goes on."""

    REFUSE = "refuse"
    WAIT = "wait"
    ALLOW = "allow"


@dataclass(frozen=True, slots=True)
class Submitted:
    """The run that a submit led to.

    Attributes:
        created: False when it was there already.
        loading: the iterable that is to be read for it now, and under whose name.
        loaded: its iterable was read to the end by this submit.
    """

    run: Run
    created: bool
    loading: tuple[Items[Any], Producer] | None = None
    loaded: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What submitting would do, without doing it.

    Attributes:
        rows_estimate: what the planner expects; None when it cannot say.
        chunk_size: rows to a chunk; to the first one where chunks size themselves.
        chunk_seconds: what a chunk is to take where they size themselves; else None.
        chunks_estimate: rows_estimate in chunks; None where chunks size themselves.
        first: bounds of the first chunk, encoded; None when there is nothing to do.
        last_key: up to where the run would walk, encoded: the table's highest key, whatever the
            filter lets through; None where there are no rows, and for items, not read yet.
        sample: the first few keys, encoded.
        fingerprint: of the statement.
    """

    job: str
    parameters: dict[str, Any]
    key_names: tuple[str, ...]
    chunk_size: int
    chunk_seconds: float | None
    rows_estimate: int | None
    chunks_estimate: int | None
    first: tuple[str | None, str] | None
    last_key: str | None
    sample: tuple[str, ...]
    queue: str
    fingerprint: str

    @property
    def size(self) -> ChunkSize:
        """How large chunks are to be."""
        return ChunkSize(self.chunk_size, self.chunk_seconds)

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True, slots=True)
class Order:
    """How a job is to be submitted.

    Attributes:
        links: what is to be sent when the run ends: of each its kind, and the signature.
        policy: instead of the job's own.
        size: how large chunks are, instead of what the job says.
        not_before: no lane comes earlier: a time, or one so long after the submit.
        awaits: no lane comes before somebody releases it.
        finish_by: when it should have ended: a time, or one so long after the submit.
        trace: the span that it is part of, as a run keeps it.
        limits: instead of the job's own.
    """

    queue: str
    submitted_by: str | None
    idempotency_key: str | None = None
    overlap: Overlap = Overlap.REFUSE
    links: tuple[tuple[str, str], ...] = ()
    policy: FailurePolicy | None = None
    size: ChunkSize | None = None
    not_before: datetime | timedelta | None = None
    awaits: bool = False
    finish_by: datetime | timedelta | None = None
    trace: str | None = None
    limits: Limits = field(default_factory=Limits)

    @classmethod
    def checked(
        cls,
        queue: str,
        submitted_by: str | None,
        idempotency_key: str | None,
        overlap: str,
        links: tuple[tuple[str, str], ...],
        *,
        countdown: float | None = None,
        eta: datetime | None = None,
        finish_by: datetime | float | None = None,
        limits: Limits | None = None,
        size: ChunkSize | None = None,
    ) -> Order:
        """Check what the caller said.

        Args:
            links: what is to be sent when the run ends: of each its kind, and the signature.
            countdown: seconds from the submit until it may start.
            eta: when it may start.
            finish_by: when it should have ended, or seconds from the submit until then.
            limits: instead of the job's own.
            size: how large chunks are, instead of what the job says.

        Raises:
            ConfigurationError: ``overlap`` is not one of the three words, or it cannot be told
                when to start, or by when it should have ended.
            ParameterError: a limit is unknown.
        """
        try:
            word = Overlap(overlap)
        except ValueError:
            words = ", ".join(repr(str(one)) for one in Overlap)
            raise ConfigurationError(f"overlap={overlap!r} must be one of {words}.") from None
        start = _start(countdown, eta)
        end = _end(finish_by)
        chosen = known_limits(limits or {})
        return cls(
            queue,
            submitted_by,
            idempotency_key,
            word,
            links,
            not_before=start,
            finish_by=end,
            limits=chosen,
            size=size,
        )


def _start(countdown: Any, eta: object) -> datetime | timedelta | None:
    if countdown is not None and eta is not None:
        raise ConfigurationError("Give either countdown= or eta=, not both.")
    if eta is not None:
        if (at := _moment(eta)) is not None:
            return at
        raise ConfigurationError(
            f"eta={eta!r} must be a time with its zone, as in"
            " datetime(2026, 1, 31, 22, tzinfo=UTC)."
        )
    if countdown is None:
        return None
    if (wait := _span(countdown)) is not None:
        return wait
    raise ConfigurationError(f"countdown={countdown!r} must be a number of seconds from 0 up.")


def _end(finish_by: object) -> datetime | timedelta | None:
    if finish_by is None:
        return None
    if (end := _moment(finish_by) or _span(finish_by)) is not None:
        return end
    raise ConfigurationError(
        f"finish_by={finish_by!r} must be a time with its zone, as in"
        " datetime(2026, 2, 1, 6, tzinfo=UTC), or a number of seconds from the submit."
    )


def _moment(given: object) -> datetime | None:
    """A time as UTC, as it is kept; None where it is none, or has no zone."""
    # In the first and last hours of all there may be no such time.
    with suppress(OverflowError):
        if isinstance(given, datetime) and given.utcoffset() is not None:
            return given.astimezone(UTC)
    return None


def _span(given: Any) -> timedelta | None:
    """A number of seconds; None where it is none."""
    is_number = isinstance(given, (int, float)) and not isinstance(given, bool)
    if is_number and 0 <= given < float("inf"):
        return timedelta(seconds=min(given, LONGEST_WAIT))
    return None


def size_of(
    spec: JobSpec,
    chunk_size: int | Literal["auto"] | None = None,
    chunk_seconds: float | None = None,
) -> ChunkSize:
    """How large chunks are to be: as whoever submits says, and else as the job does.

    Raises:
        ParameterError: it cannot be meant.
    """
    try:
        return ChunkSize.checked(chunk_size, chunk_seconds, spec.options.size)
    except ValueError as error:
        raise ParameterError(f"{error}.".replace(": it", ", but it", 1)) from None


def submit(
    runtime: Runtime,
    connection: Connection,
    data: Connection,
    *,
    spec: JobSpec,
    job: Any,
    order: Order,
) -> Submitted:
    """Write a run down in the transaction that the connection is in.

    Raises:
        ParameterError: a parameter does not fit.
        SourceError: the rows cannot be walked.
        OverlapError: a run of the same job and parameters still goes on.
        IdempotencyConflict: the key was used with other parameters.
    """
    runs = runtime.ledger.runs
    parameters = spec.dump(job)
    digests = runtime.vault.digests(spec, parameters)
    if (earlier := _earlier(runtime, connection, spec, order, digests)) is not None:
        return Submitted(earlier, created=False)
    try:
        waits_for = _standing_behind(runtime, connection, spec, order, digests)
    except OverlapError:
        # It may be the run of our own key, committed since we looked for it.
        if (earlier := _earlier(runtime, connection, spec, order, digests)) is not None:
            return Submitted(earlier, created=False)
        raise
    submitted_at = connection.execute(select(clock())).scalar_one()
    with _readable(spec):
        source = spec.source(job, JobRun(submitted_at))
        until, estimate = _extent(source, data)
    size = order.size or spec.options.size
    new = NewRun(
        job=spec.name,
        parameters=runtime.vault.seal(spec, parameters),
        parameters_hash=digests[0],
        queue=order.queue,
        submitted_by=order.submitted_by,
        idempotency_key=order.idempotency_key,
        slot=None if order.overlap is Overlap.ALLOW else f"{spec.name}:{digests[0]}",
        fingerprint=source.fingerprint,
        key_names=source.key_names,
        until=None if until is None else encode_key(until),
        rows_estimate=estimate,
        chunk_size=size.rows,
        chunk_seconds=size.seconds,
        max_lanes=lanes_of(order.limits, spec.options.max_lanes),
        throttle=throttle_of(runtime, order.limits, spec.options.throttle),
        policy=order.policy or spec.options.policy,
        at_least_once=runtime.at_least_once or spec.name == CANVAS_JOB,
        has_failed=callable(getattr(spec.cls, "failed", None)) or runtime.notify is not None,
        loading=isinstance(source, Items),
        waits_for=waits_for,
        links=order.links,
        not_before=_not_before(order, submitted_at),
        awaits=order.awaits,
        finish_by=_after(order.finish_by, submitted_at),
        trace=order.trace,
    )
    run_id = runs.insert(connection, new, submitted_at)
    if run_id is not None:
        runs.note(
            connection, run_id, actor=order.submitted_by or "unknown", verb="submitted", detail=None
        )
        begun = None
        if isinstance(source, Items):
            begun = (source, this_producer())
            runtime.ledger.loads.begin(connection, run_id, begun[1], runtime.settings.lease_seconds)
        return Submitted(runs.get(connection, run_id), created=True, loading=begun)
    # Somebody was faster between the question and the insert.
    if (earlier := _earlier(runtime, connection, spec, order, digests)) is not None:
        return Submitted(earlier, created=False)
    if order.overlap is Overlap.WAIT:
        return submit(runtime, connection, data, spec=spec, job=job, order=order)
    _refuse(runtime, connection, spec, digests)
    raise OverlapError(f"A run of {spec.name} with the same parameters was submitted just now.")


def _not_before(order: Order, submitted_at: datetime) -> datetime | None:
    """From when on lanes may come; None: from the submit on."""
    at = _after(order.not_before, submitted_at)
    return None if at is None or at <= submitted_at else at


def _after(given: datetime | timedelta | None, submitted_at: datetime) -> datetime | None:
    """The time that was meant."""
    return submitted_at + given if isinstance(given, timedelta) else given


def plan(
    data: Connection, spec: JobSpec, job: Any, queue: str, size: ChunkSize | None = None
) -> Plan:
    """What a submit would do; nothing is written.

    Args:
        size: how large chunks are, instead of what the job says.

    Raises:
        ParameterError: a parameter does not fit.
        SourceError: the rows cannot be walked.
    """
    parameters = spec.dump(job)
    size = size or spec.options.size
    fixed = size.rows if size.seconds is None else None
    now = data.execute(select(clock())).scalar_one()
    with _readable(spec):
        source = spec.source(job, JobRun(now))
        until, estimate = _extent(source, data)
    first: tuple[str | None, str] | None = None
    sample: tuple[str, ...] = ()
    if until is not None and not isinstance(source, Items):
        cuts = _look(source, data, until, chunk_size=size.rows, chunks=1)
        first = cuts[0].bounds.encoded() if cuts else None
        few = _look(source, data, until, chunk_size=1, chunks=_SAMPLE)
        sample = tuple(encode_key(cut.bounds.upto) for cut in few if cut.rows)
    return Plan(
        job=spec.name,
        parameters=spec.shown(parameters),
        key_names=source.key_names,
        chunk_size=size.rows,
        chunk_seconds=size.seconds,
        rows_estimate=estimate,
        chunks_estimate=None if fixed is None or estimate is None else -(-estimate // fixed),
        first=first,
        last_key=None if until is None else encode_key(until),
        sample=sample,
        queue=queue,
        fingerprint=source.fingerprint,
    )


@contextmanager
def _readable(spec: JobSpec) -> Iterator[None]:
    """Say in one sentence that the rows cannot be read, whatever the database says."""
    try:
        yield
    except DBAPIError as error:
        if fault_of(error) is not Fault.ROWS:
            raise
        first_line = str(error.orig).strip().partition("\n")[0]
        raise SourceError(f"The rows of {spec.name} cannot be read: {first_line}.") from error


def this_producer() -> Producer:
    """Whoever reads an iterable in this process, from now on."""
    pid = os.getpid()
    return Producer(uuid4(), socket.gethostname(), pid, process_started(pid) or 0.0)


def _extent(source: Source[Any] | Items[Any], data: Connection) -> tuple[Key | None, int | None]:
    """The last key of a source and about how many rows it has, as far as that is known."""
    if isinstance(source, Items):
        # It can be read only once, and not yet.
        return None, None
    source.check(data)
    until = source.until(data)
    return until, 0 if until is None else source.estimate(data)


def _look(
    source: Source[Any], data: Connection, until: Key, *, chunk_size: int, chunks: int
) -> tuple[Cut, ...]:
    """The first chunks, if a few looks are enough to find them."""
    scout = None
    for _ in range(_LOOKS):
        walk = source.walk(
            data, after=None, scout=scout, until=until, chunk_size=chunk_size, chunks=chunks
        )
        scout = walk.scout
        if walk.cuts or scout is None:
            return walk.cuts
    return ()


def _earlier(
    runtime: Runtime, connection: Connection, spec: JobSpec, order: Order, digests: Sequence[str]
) -> Run | None:
    if order.idempotency_key is None:
        return None
    find = partial(
        runtime.ledger.runs.find,
        connection,
        job=spec.name,
        idempotency_key=order.idempotency_key,
        limit=1,
    )
    if not (found := find()):
        return None
    run = found[0]
    if not any(find(parameters_hash=digest) for digest in digests):
        raise IdempotencyConflict(
            f"The idempotency key {order.idempotency_key!r} belongs to run {run.id}, which has"
            " other parameters: use another key.",
            run.id,
        )
    return run


def _standing_behind(
    runtime: Runtime, connection: Connection, spec: JobSpec, order: Order, digests: Sequence[str]
) -> RunId | None:
    if order.overlap is Overlap.ALLOW:
        return None
    if order.overlap is Overlap.REFUSE:
        _refuse(runtime, connection, spec, digests)
        return None
    # Whoever is to wait is known by the first key, and so is whom it waits for.
    ahead = _active(runtime, connection, spec, digests[0])
    return None if ahead is None else ahead.id


def _refuse(
    runtime: Runtime, connection: Connection, spec: JobSpec, digests: Sequence[str]
) -> None:
    for run in filter(None, (_active(runtime, connection, spec, one) for one in digests)):
        raise OverlapError(
            f"Run {run.id} of {spec.name} with the same parameters is still {run.status}:"
            " wait for it, cancel it, or submit with overlap='wait' or 'allow'.",
            run.id,
        )


def _active(runtime: Runtime, connection: Connection, spec: JobSpec, digest: str) -> Run | None:
    found = runtime.ledger.runs.find(
        connection, job=spec.name, parameters_hash=digest, statuses=ACTIVE, limit=1
    )
    return found[0] if found else None
