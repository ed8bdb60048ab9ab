"""What a job's declaration says beside its methods: ``@bulk.job(chunk_size=500, …)``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, Self, TypedDict, Unpack

from breakbulk.domain.failing import FailurePolicy, OnFailure, Tolerance
from breakbulk.domain.retry import RetryPolicy, class_name
from breakbulk.domain.sizing import DEFAULT_ROWS, ChunkSize
from breakbulk.domain.throttle import NO_THROTTLE, OPTIONS, Throttle
from breakbulk.errors import DeclarationError

Exceptions = type[BaseException] | Iterable[type[BaseException]]

_WHOLE = {"max_retries": 0, "max_lanes": 1}
_SECONDS = ("retry_delay", "retry_backoff_max")


class JobOptions(TypedDict, total=False):
    """The options of a job. All durations are seconds.

    Attributes:
        name: what the ledger calls it; survives renaming the class. Default: module and class.
        chunk_size: rows in a chunk; 500 unless given. ``"auto"``: as many as take
            ``chunk_seconds``, found out from the first chunk on and changed as rows get dearer or
            cheaper, between one row and ``max_chunk_rows``.
        chunk_seconds: what a chunk is to take with ``chunk_size="auto"``; 0.5 unless given.
        max_lanes: chunks at work at once at most; default as many as workers have slots.
        queue: Celery queue; default the one that Celery's routes lead to.
        max_retries: tries of a chunk after the first; 5 unless given.
        retry_delay: between a failure and the next try; 60 unless given.
        retry_backoff: True, or the first delay: doubled after each further failure, instead of
            ``retry_delay``.
        retry_backoff_max: no such delay is longer; 600 unless given.
        retry_jitter: draw such delays between 0 and themselves; True unless given.
        retry_for: only these exceptions are tried again; default all.
        give_up_for: these exceptions are not.
        on_failure: what becomes of a chunk whose retries are used up: ``"isolate"`` (the default)
            finds the rows that fail and puts them in quarantine, ``"skip"`` leaves the whole
            chunk out, ``"stop"`` ends the run.
        chunk_timeout: a chunk that takes longer is ended and counts as failed; 3600 unless given,
            None for as long as it takes.
        tolerate: rows that may fail before the run does, or per cent of them as in ``"2%"``;
            1000 unless given.
        max_replica_lag: a run works only while no replica is more seconds behind than that.
        max_lock_waits: it works only while no more sessions of the application wait for locks.
        throttle_on: a SQL statement that is asked every few seconds: it works while that gives
            NULL, false or no row; a text is the reason why it holds back.
        only: the hours in which it works, as in ``"Mon-Fri 22:00-06:00 Europe/Berlin"``.
        max_rows_per_second: of all its lanes together.
    """

    name: str | None
    chunk_size: int | Literal["auto"]
    chunk_seconds: float
    max_lanes: int | None
    queue: str | None
    max_retries: int
    retry_delay: float
    retry_backoff: float | bool
    retry_backoff_max: float
    retry_jitter: bool
    retry_for: Exceptions
    give_up_for: Exceptions
    on_failure: Literal["isolate", "skip", "stop"]
    tolerate: int | str
    chunk_timeout: float | None
    max_replica_lag: float | None
    max_lock_waits: int | None
    throttle_on: str | None
    only: str | None
    max_rows_per_second: float | None


@dataclass(frozen=True, slots=True)
class Options:
    """The same, checked and with defaults.

    Attributes:
        size: how large chunks are.
        keeps_results: ``process`` says what came of its one item, which is kept; no option of
            users, for it is only of jobs of Breakbulk's own.
    """

    name: str | None = None
    size: ChunkSize = field(default_factory=ChunkSize)
    max_lanes: int | None = None
    queue: str | None = None
    policy: FailurePolicy = field(default_factory=FailurePolicy)
    throttle: Throttle = NO_THROTTLE
    keeps_results: bool = False

    @property
    def chunk_size(self) -> int:
        """Rows to a chunk; to the first one where chunks size themselves."""
        return self.size.rows

    @property
    def chunk_seconds(self) -> float | None:
        """What a chunk is to take where they size themselves; else None."""
        return self.size.seconds

    @classmethod
    def checked(cls, job: str, **given: Unpack[JobOptions]) -> Self:
        """Check what a declaration says.

        Args:
            job: the class's name, for the message.

        Raises:
            DeclarationError: an option is unknown, or its value cannot be meant.
        """
        unknown = sorted(set(given) - set(JobOptions.__annotations__))
        if unknown:
            known = ", ".join(JobOptions.__annotations__)
            raise DeclarationError(
                f"The job {job} has an unknown option {unknown[0]!r}; known are {known}."
            )
        for word, least in _WHOLE.items():
            value = given.get(word, least)
            unlimited = word == "max_lanes" and value is None
            if not unlimited and (type(value) is not int or value < least):
                raise _wrong(job, word, value, f"a whole number from {least} up")
        try:
            rows = given.get("chunk_size", None if "chunk_seconds" in given else DEFAULT_ROWS)
            size = ChunkSize.checked(rows or 0, given.get("chunk_seconds"))
        except ValueError as error:
            raise DeclarationError(f"The job {job} has {error}.") from None
        return cls(
            name=given.get("name"),
            size=size,
            max_lanes=given.get("max_lanes"),
            queue=given.get("queue"),
            policy=_policy(job, given),
            throttle=_throttle(job, given),
        )


def _throttle(job: str, given: JobOptions) -> Throttle:
    options: dict[str, Any] = {name: given[name] for name in OPTIONS if name in given}  # type: ignore[literal-required]
    for name, value in options.items():
        try:
            NO_THROTTLE.changed({name: value})
        except ValueError as error:
            raise _wrong(job, name, value, str(error)) from None
    return NO_THROTTLE.changed(options)


def _policy(job: str, given: JobOptions) -> FailurePolicy:
    for word in _SECONDS:
        if not _duration(given.get(word, 0)):
            raise _wrong(job, word, given.get(word), "seconds from 0 up")
    backoff = given.get("retry_backoff", False)
    if not isinstance(backoff, bool) and not _duration(backoff):
        raise _wrong(job, "retry_backoff", backoff, "True, False or seconds from 0 up")
    jitter = given.get("retry_jitter", True)
    if not isinstance(jitter, bool):
        raise _wrong(job, "retry_jitter", jitter, "True or False")
    plain = RetryPolicy()
    retry = RetryPolicy(
        max_retries=given.get("max_retries", plain.max_retries),
        retry_delay=given.get("retry_delay", plain.retry_delay),
        retry_backoff=float(backoff),
        retry_backoff_max=given.get("retry_backoff_max", plain.retry_backoff_max),
        retry_jitter=jitter,
        retry_for=_names(job, "retry_for", given.get("retry_for", ())),
        give_up_for=_names(job, "give_up_for", given.get("give_up_for", ())),
    )
    what = given.get("on_failure", "isolate")
    if what not in list(OnFailure):
        words = ", ".join(repr(str(one)) for one in OnFailure)
        raise _wrong(job, "on_failure", what, f"one of {words}")
    tolerate = given.get("tolerate", FailurePolicy().tolerate.rows)
    try:
        tolerance = Tolerance.parsed(tolerate)
    except ValueError:
        raise _wrong(
            job, "tolerate", tolerate, 'a number of rows, or per cent of them as in "2%"'
        ) from None
    timeout = given.get("chunk_timeout", FailurePolicy().chunk_timeout)
    if timeout is not None and (not _duration(timeout) or timeout == 0):
        raise _wrong(job, "chunk_timeout", timeout, "seconds above 0, or None")
    return FailurePolicy(retry, OnFailure(what), tolerance, timeout)


def _duration(value: object) -> bool:
    return type(value) in (int, float) and 0 <= value < float("inf")  # type: ignore[operator]


def _names(job: str, word: str, given: object) -> tuple[str, ...]:
    kinds = (given,) if isinstance(given, type) else given
    listed: tuple[Any, ...] = tuple(kinds) if isinstance(kinds, Iterable) else (None,)
    if not all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in listed):
        raise _wrong(job, word, given, "an exception class or several, as in (TimeoutError,)")
    return tuple(class_name(kind) for kind in listed)


def _wrong(job: str, word: str, value: object, right: str) -> DeclarationError:
    return DeclarationError(f"The job {job} has {word}={value!r}: it must be {right}.")
