"""OpenTelemetry spans, for applications that record them; nothing at all for others.

Only the API is used, and only where somebody has loaded it: who records spans has an SDK, and an
SDK loads the API. Whether anybody records is asked once for each stay of a lane, not for each
chunk, and ``Work`` is another class then.

A chunk's span is a trace of its own, linked to the span of the run's submit and to whatever span
the lane is in (``docs/decisions/0028``): a run may have a million chunks.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

import breakbulk
from breakbulk.domain.chunk import Claim
from breakbulk.domain.run import Run
from breakbulk.domain.status import RunStatus
from breakbulk.errors import CancelRun, LostClaim, Snooze
from breakbulk.runner.attempt import DoubtfulCommit, Work
from breakbulk.runner.itemwork import ItemWork

if TYPE_CHECKING:
    from opentelemetry.trace import Link, Span, SpanContext, Tracer

#: How an attempt ended that is no error, by what it raised.
_OUTCOMES: tuple[tuple[type[BaseException], str], ...] = (
    (Snooze, "snoozed"),
    (CancelRun, "cancels the run"),
    (LostClaim, "lost"),
    (DoubtfulCommit, "in doubt"),
)
_WRITTEN = "00-{trace_id:032x}-{span_id:016x}-{flags:02x}"


def tracer() -> Tracer | None:
    """What makes spans; None where nobody records them."""
    if "opentelemetry.trace" not in sys.modules:
        return None
    from opentelemetry import trace

    provider = trace.get_tracer_provider()
    if isinstance(provider, (trace.ProxyTracerProvider, trace.NoOpTracerProvider)):
        return None
    return provider.get_tracer("breakbulk", breakbulk.__version__)


class Submission:
    """The submit of one run, as far as its span is concerned.

    Attributes:
        trace: the span, as a run keeps it; None without one.
    """

    def __init__(self, span: Span | None = None) -> None:
        self._span = span
        self.trace = None if span is None else _written(span.get_span_context())

    def led_to(self, run_id: int, *, created: bool) -> None:
        """It is written down, or was there already."""
        if self._span is not None:
            self._span.set_attributes({"breakbulk.run": run_id, "breakbulk.created": created})


@contextmanager
def submission(job: str, queue: str) -> Iterator[Submission]:
    """The span of a submit, as part of the trace that it is called in."""
    made = tracer()
    if made is None:
        yield Submission()
        return
    from opentelemetry.trace import SpanKind

    attributes = {"breakbulk.job": job, "breakbulk.queue": queue}
    with made.start_as_current_span(
        f"submit {job}", kind=SpanKind.PRODUCER, attributes=attributes
    ) as span:
        yield Submission(span)


def traced(work: Work) -> Work:
    """The same work, with a span for each attempt where somebody records them."""
    made = tracer()
    if made is None:
        return work
    kind = TracedItemWork if work.keeps else TracedWork
    found = kind(*(getattr(work, field.name) for field in fields(work)))
    # Frozen, as Work is, and it says nothing of traces.
    object.__setattr__(found, "tracer", made)
    return found


class _Traced(Work):
    """Work whose every attempt is a span."""

    tracer: Tracer

    def attempt(
        self,
        connection: Connection,
        data: Connection,
        claim: Claim,
        at_work: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> RunStatus | None:
        """Process a chunk and mark it done, as :meth:`Work.attempt` does, within a span."""
        attributes = {
            "breakbulk.chunk": str(claim.ref),
            "breakbulk.attempt": claim.attempt,
            "breakbulk.lane": self.lane,
            "breakbulk.rows": claim.rows,
        }
        with _span(self.tracer, self.run, "process", attributes):
            return super().attempt(connection, data, claim, at_work)


class TracedWork(_Traced, Work):
    """On chunks of rows."""


class TracedItemWork(_Traced, ItemWork):
    """On items whose results are kept."""


def calling_back(run: Run, attempt: int) -> AbstractContextManager[None]:
    """The span of one try at a run's callback."""
    made = tracer()
    if made is None:
        return nullcontext()
    return _span(made, run, "finished", {"breakbulk.attempt": attempt})


@contextmanager
def _span(tracer: Tracer, run: Run, verb: str, about: dict[str, Any]) -> Iterator[None]:
    from opentelemetry.context import Context
    from opentelemetry.trace import SpanKind, Status, StatusCode

    attributes = {
        "breakbulk.run": run.id,
        "breakbulk.job": run.job,
        "breakbulk.round": run.round,
        **about,
    }
    with tracer.start_as_current_span(
        f"{verb} {run.job}",
        context=Context(),
        kind=SpanKind.CONSUMER,
        attributes=attributes,
        links=list(_links(run)),
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        try:
            yield
        except BaseException as error:
            outcome = next((word for kind, word in _OUTCOMES if isinstance(error, kind)), "failed")
            span.set_attribute("breakbulk.outcome", outcome)
            if outcome == "failed":
                span.record_exception(error)
                span.set_status(Status(StatusCode.ERROR, f"{type(error).__name__}: {error}"))
            raise
        span.set_attribute("breakbulk.outcome", "succeeded")


def _links(run: Run) -> Iterator[Link]:
    from opentelemetry import trace

    if run.trace is not None and (submitted := _read(run.trace)) is not None:
        yield trace.Link(submitted, {"breakbulk.link": "submit"})
    lane = trace.get_current_span().get_span_context()
    if lane.is_valid:
        yield trace.Link(lane, {"breakbulk.link": "lane"})


def _written(context: SpanContext) -> str | None:
    """A span as W3C writes it: traceparent, and behind a blank tracestate."""
    if not context.is_valid:
        return None
    parent = _WRITTEN.format(
        trace_id=context.trace_id, span_id=context.span_id, flags=int(context.trace_flags)
    )
    return f"{parent} {context.trace_state.to_header()}".rstrip()


def _read(written: str) -> SpanContext | None:
    from opentelemetry.trace import SpanContext, TraceFlags, TraceState

    parent, _, state = written.partition(" ")
    try:
        _, trace_id, span_id, flags = parent.split("-")
        return SpanContext(
            int(trace_id, 16),
            int(span_id, 16),
            is_remote=True,
            trace_flags=TraceFlags(int(flags, 16)),
            trace_state=TraceState.from_header([state] if state else []),
        )
    except ValueError:
        # Whatever wrote it, a run goes on without it.
        return None
