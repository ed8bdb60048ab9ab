"""Every exception that Breakbulk raises on purpose.

::

    BreakbulkError
    ├── ConfigurationError        the way Breakbulk was set up cannot work
    │   ├── SecondDatabase        the data is not in the ledger's database
    │   ├── UnsupportedPool       a Celery pool that cannot keep the promises
    │   └── TaskUnworkable        a part's task that this worker cannot call
    ├── DeclarationError          a job class that is not one
    ├── UnknownJob                no job of that name is registered
    ├── ParameterError            an unknown, missing or mistyped parameter
    ├── SourceError               rows that cannot be walked
    │   └── SourceChanged         another statement than the one submitted
    ├── CanvasError               a group, chord or chain that cannot be run like that
    ├── PartFailed                raised by ``get()`` of a canvas: a part or the body has failed
    ├── ResultRefused             a task returned what cannot be kept
    ├── KeyChanged                process() changed the key it is walked by
    ├── TransactionMisuse         process() or finished() ended the transaction itself
    ├── OverlapError              a run of the same job still goes on
    ├── IdempotencyConflict       the same key was used with other parameters
    ├── RunNotFound               no run has that id
    ├── WebhookNotFound           no endpoint or delivery has that number
    ├── EndpointRefused           a URL that nothing may be sent to
    ├── StateError                the run's status does not allow the verb
    ├── NothingAtWork             code asked for its chunk or run outside of a job's methods
    ├── RunUnsuccessful           raised by ``raise_for_status()``
    ├── WaitTimeout               the run did not end in the time given
    ├── TokenError                a machine's token cannot be made or revoked like that
    ├── LedgerUnreachable         the database does not answer
    ├── SchemaError               the ledger's tables are missing, too old or too new
    ├── BrokerUnreachable         the broker does not answer
    ├── ProviderRefused           where nodes come from, none can be had or stopped now
    ├── LostClaim                 another attempt owns the chunk; this one rolled back
    └── EmbeddedError             an embedded server cannot be started

Control flow that user code may raise (not errors, so not in the tree): :class:`Snooze`
and :class:`CancelRun`.

Each message is one sentence that says what happened and what to do. ``exit_code`` is what
the command line exits with.
"""

from __future__ import annotations


class BreakbulkError(Exception):
    """Base of all errors that Breakbulk raises on purpose."""

    exit_code = 1


class ConfigurationError(BreakbulkError):
    """The way Breakbulk was set up cannot work."""


class SecondDatabase(ConfigurationError):
    """The data lives in another database than the ledger, and nobody said that is all right."""


class UnsupportedPool(ConfigurationError):
    """A Celery pool in which a chunk cannot be kept in one transaction."""


class TaskUnworkable(ConfigurationError):
    """A part of a canvas is of a task that this worker cannot call.

    Args:
        message: what is the matter.
        task: the task's name.
    """

    def __init__(self, message: str, task: str | None = None) -> None:
        super().__init__(message)
        self.task = task


class DeclarationError(BreakbulkError):
    """A class was declared a job but is not a complete one."""


class UnknownJob(BreakbulkError):
    """No job of that name is registered."""

    exit_code = 2


class ParameterError(BreakbulkError):
    """A parameter is unknown, missing or of the wrong type.

    Attributes:
        parameter: the name of a job's parameter, where it is about one.
    """

    exit_code = 2

    def __init__(self, message: str, *, parameter: str | None = None) -> None:
        super().__init__(message)
        self.parameter = parameter


class SourceError(BreakbulkError):
    """The rows of a job cannot be walked by their key, or its iterable ended early.

    Attributes:
        run_id: the run that has failed by it, where there is one.
    """

    def __init__(self, message: str, run_id: int | None = None) -> None:
        super().__init__(message)
        self.run_id = run_id


class SourceChanged(SourceError):
    """``source()`` gave another statement than it gave at submit."""


class CanvasError(BreakbulkError):
    """A group, chord or chain cannot be run as it is."""


class PartFailed(BreakbulkError):
    """A part of a canvas, or its body, has failed.

    Attributes:
        error: the name of the exception's class.
        part: the part's number, from 1; None for the body.
    """

    def __init__(self, message: str, error: str = "", part: int | None = None) -> None:
        super().__init__(message)
        self.error = error
        self.part = part


class ResultRefused(BreakbulkError):
    """A task of a canvas returned what cannot be kept: it is too large, or not JSON."""


class KeyChanged(BreakbulkError):
    """``process`` changed the key that the rows are walked by."""


class TransactionMisuse(BreakbulkError):
    """User code ended the transaction that belongs to the chunk or the callback.

    Attributes:
        deliberate: it asked for a commit, so it would do so for every chunk.
    """

    def __init__(self, message: str, *, deliberate: bool = False) -> None:
        super().__init__(message)
        self.deliberate = deliberate


class OverlapError(BreakbulkError):
    """A run of the same job and parameters still goes on."""

    def __init__(self, message: str, run_id: int | None = None) -> None:
        super().__init__(message)
        self.run_id = run_id


class IdempotencyConflict(BreakbulkError):
    """An idempotency key was used again with other parameters."""

    def __init__(self, message: str, run_id: int | None = None) -> None:
        super().__init__(message)
        self.run_id = run_id


class RunNotFound(BreakbulkError):
    """No run has that id."""

    exit_code = 2


class WebhookNotFound(BreakbulkError):
    """No endpoint, or no delivery, has that number."""

    exit_code = 2


class EndpointRefused(BreakbulkError):
    """A URL that nothing may be sent to."""

    exit_code = 2


class StateError(BreakbulkError):
    """The run's status does not allow the verb."""


class NothingAtWork(BreakbulkError):
    """Code asked for its chunk, or its run, where no job's method calls it."""


class RunUnsuccessful(BreakbulkError):
    """A run ended otherwise than succeeded."""

    def __init__(self, message: str, status: str = "") -> None:
        super().__init__(message)
        self.status = status


class WaitTimeout(BreakbulkError):
    """A run did not end within the time that was given."""

    exit_code = 6


class TokenError(BreakbulkError):
    """A token cannot be made like that, or is not there."""

    exit_code = 2


class LedgerUnreachable(BreakbulkError):
    """The ledger's database does not answer."""

    exit_code = 7


class SchemaError(BreakbulkError):
    """The ledger's tables are missing, too old or too new for this version."""

    exit_code = 7


class BrokerUnreachable(BreakbulkError):
    """The message broker does not answer."""

    exit_code = 7


class ProviderRefused(BreakbulkError):
    """Where nodes come from says no, or nothing: nodes cannot be started or stopped now."""


class LostClaim(BreakbulkError):
    """Somebody else owns the chunk by now, so this attempt was rolled back."""


class EmbeddedError(BreakbulkError):
    """An embedded server cannot be started."""

    exit_code = 7


class Snooze(Exception):
    """Raised by ``process``: put the chunk back and try again later, at no cost.

    Args:
        seconds: how long to wait at least, in seconds.
    """

    def __init__(self, seconds: float) -> None:
        if not 0 <= seconds < float("inf"):
            raise ValueError(f"Snooze takes a number of seconds from 0 up, not {seconds!r}.")
        # Its argument as it was, so that it can be pickled like any exception.
        super().__init__(seconds)
        self.seconds = float(seconds)

    def __str__(self) -> str:
        return f"snoozed for {self.seconds:g} s"


class CancelRun(Exception):
    """Raised by ``process``: roll this chunk back and cancel the whole run.

    Args:
        reason: shown to operators, in one sentence.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
