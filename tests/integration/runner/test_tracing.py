"""Spans of submits, chunks and callbacks, as an application's own SDK records them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from breakbulk import RunStatus, Snooze
from tests.support.yard import Boom, failing, touch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.sdk.trace import ReadableSpan

    from breakbulk import Chunk
    from tests.support.yard import Goods, Yard


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """What is recorded; a process has one provider, so it is put back afterwards."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr("opentelemetry.trace._TRACER_PROVIDER", provider)
    yield exporter
    provider.shutdown()


def named(spans: InMemorySpanExporter, verb: str) -> list[ReadableSpan]:
    return [one for one in spans.get_finished_spans() if one.name.startswith(f"{verb} ")]


def about(span: ReadableSpan) -> dict[str, Any]:
    return {
        name.removeprefix("breakbulk."): value for name, value in (span.attributes or {}).items()
    }


def test_chunks_are_linked_to_the_submit_of_their_run(
    yard: Yard, spans: InMemorySpanExporter
) -> None:
    tracer = trace.get_tracer("the application")
    job = yard.job()
    with tracer.start_as_current_span("a request"):
        handle = yard.submit(job)
    # Lanes may be in a span of their own, as where Celery is instrumented as well.
    with tracer.start_as_current_span("a lane") as lane:
        yard.settle(handle)
    (submit,) = named(spans, "submit")
    (request,) = named(spans, "a")[:1]
    assert submit.parent is not None
    assert submit.parent.span_id == request.context.span_id
    expected = {"job": handle.job, "queue": "celery", "run": handle.id, "created": True}
    assert about(submit) == expected
    record = handle.record()
    assert record.trace_id == f"{submit.context.trace_id:032x}"
    chunks = named(spans, "process")
    assert [about(one)["chunk"] for one in chunks] == ["1", "2", "3"]
    assert {one.name for one in chunks} == {f"process {handle.job}"}
    for one in [*chunks, *named(spans, "finished")]:
        assert one.parent is None
        links = [(link.context.trace_id, link.context.span_id) for link in one.links]
        assert links == [
            (submit.context.trace_id, submit.context.span_id),
            (lane.get_span_context().trace_id, lane.get_span_context().span_id),
        ]
        assert about(one)["run"] == handle.id
        assert about(one)["attempt"] == 1
        assert about(one)["outcome"] == "succeeded"
    assert len({one.context.trace_id for one in chunks}) == len(chunks)
    assert len(named(spans, "finished")) == 1


def test_what_process_does_is_within_its_span(yard: Yard, spans: InMemorySpanExporter) -> None:
    def process(chunk: Chunk[Goods]) -> None:
        with trace.get_tracer("the application").start_as_current_span("mail it"):
            touch(chunk)

    yard.run(process)
    inner, chunks = named(spans, "mail"), named(spans, "process")
    assert [one.parent and one.parent.span_id for one in inner] == [
        one.context.span_id for one in chunks
    ]


def test_an_attempt_that_failed_says_why(yard: Yard, spans: InMemorySpanExporter) -> None:
    yard.run(failing(1))
    failed, again = [one for one in named(spans, "process") if about(one)["chunk"] == "2"]
    assert failed.status.status_code is StatusCode.ERROR
    assert failed.status.description == "Boom: attempt 1"
    (event,) = failed.events
    assert event.attributes is not None
    assert event.attributes["exception.type"] == f"{Boom.__module__}.Boom"
    assert about(failed)["outcome"] == "failed"
    assert about(again) == {**about(failed), "attempt": 2, "outcome": "succeeded"}


def test_a_snooze_is_no_error(yard: Yard, spans: InMemorySpanExporter) -> None:
    asked: list[int] = []

    def process(chunk: Chunk[Goods]) -> None:
        if not asked:
            asked.append(chunk.number)
            raise Snooze(0)
        touch(chunk)

    yard.run(process)
    first = named(spans, "process")[0]
    assert about(first)["outcome"] == "snoozed"
    assert first.status.status_code is StatusCode.UNSET


def test_a_trace_that_nobody_can_read_stops_no_run(yard: Yard, spans: InMemorySpanExporter) -> None:
    handle = yard.submit(yard.job())
    with yard.transaction() as connection:
        runs = yard.ledger.database.schema.runs
        connection.execute(runs.update().values(trace="what-is-this"))
    yard.settle(handle)
    assert handle.status() is RunStatus.SUCCEEDED
    assert [one.links for one in named(spans, "process")] == [()] * 3


def test_without_an_sdk_no_chunk_is_asked_for_its_span(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    original = trace.get_tracer_provider

    def provider() -> Any:
        asked.append("")
        return original()

    monkeypatch.setattr(trace, "get_tracer_provider", provider)
    handle = yard.run()
    yard.assert_proper(handle)
    # Once for the submit, and for each stay and callback; there are three chunks.
    assert len(asked) <= 3
    assert handle.record().trace_id is None
