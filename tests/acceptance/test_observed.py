"""A worker as those see it who watch it: its log, Flower, and Sentry."""

from __future__ import annotations

import json
import re
import sys
import threading
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest
from flower.events import EventsState
from flower.utils.tasks import as_dict
from opentelemetry.sdk.trace import TracerProvider

from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery import Celery

    from breakbulk import Breakbulk
    from tests.support.workers import WorkerFactory

_ROOT = Path(__file__).parents[2]
_PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
_ROWS, _BAD = 60, 25
_APPLICATION = f"""
import json
import os

import sentry_sdk
from celery import Celery, signals
from sentry_sdk.transport import Transport
from sqlalchemy import insert, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from breakbulk import Breakbulk
from breakbulk.runner.whereabouts import LOG_FORMAT

app = Celery("seen", broker=os.environ["SEEN_BROKER"], set_as_current=False)
app.conf.update(
    task_default_queue=os.environ["SEEN_QUEUE"],
    worker_log_format=LOG_FORMAT,
    worker_send_task_events=True,
)
bulk = Breakbulk(os.environ["SEEN_DATABASE"], celery=app, slice_seconds=1)


class Sent(Transport):
    def capture_envelope(self, envelope):
        with open(os.environ["SEEN_EVENTS"], "a") as file:
            for item in envelope.items:
                file.write(json.dumps(item.payload.json) + "\\n")


@signals.celeryd_init.connect
def _report(**_):
    sentry_sdk.init("https://key@sentry.invalid/1", transport=Sent, traces_sample_rate=1.0)


class Base(DeclarativeBase):
    pass


class Product(Base):
    __tablename__ = "product"
    id: Mapped[int] = mapped_column(primary_key=True)


@bulk.job(name="shop.reprice", chunk_size=10, max_retries=0, retry_delay=0)
class Reprice:
    def source(self):
        return select(Product)

    def process(self, chunk):
        for product in chunk:
            if product.id == {_BAD}:
                raise ValueError("a price below zero")


def lay_out():
    bulk.upgrade()
    engine = bulk.runtime.database.engine
    Base.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(insert(Product), [{{"id": n}} for n in range(1, {_ROWS} + 1)])
"""


class Flower:
    """What Flower keeps of a worker's events, with Flower's own classes."""

    def __init__(self, app: Celery) -> None:
        self.state = EventsState()
        self._stop = False
        self._connection = app.connection_for_read()
        self._receiver = app.events.Receiver(
            self._connection, handlers={"*": self.state.event}, app=app
        )
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._receiver.should_stop = True
        self._thread.join(timeout=30)
        self._connection.release()

    def _listen(self) -> None:
        self._receiver.capture(limit=None, timeout=None, wakeup=False)

    def lanes(self) -> list[dict[str, Any]]:
        """The lanes that have ended, as the page of tasks shows them."""
        found = [as_dict(task) for _, task in list(self.state.tasks_by_type("breakbulk.lane"))]
        return [one for one in found if one["state"] == "SUCCESS"]


@pytest.fixture
def seen(
    postgres_url: str,
    valkey_url: str,
    queue_name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Any]:
    """An application of a module of its own."""
    values = {
        "BROKER": valkey_url,
        "QUEUE": queue_name,
        "DATABASE": postgres_url,
        "EVENTS": str(tmp_path / "events"),
    }
    for name, value in values.items():
        monkeypatch.setenv(f"SEEN_{name}", value)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "seen.py").write_text(_APPLICATION)
    (tmp_path / "events").touch()
    module = import_module("seen")
    module.lay_out()
    yield module
    module.bulk.runtime.database.dispose()
    module.app.close()
    del sys.modules["seen"]


def test_log_flower_and_sentry_say_what_is_going_on(
    seen: Any, start_worker: WorkerFactory, tmp_path: Path
) -> None:
    bulk: Breakbulk = seen.bulk
    with Flower(seen.app) as flower:
        worker = start_worker("seen", concurrency=1)
        run = bulk.submit(seen.Reprice())
        run.wait(timeout=60)
        wait_for(flower.lanes, message="Flower to hear of a lane's end")
        lanes = flower.lanes()
        worker.terminate()
        assert worker.wait() == 0
    _check_flower(lanes, seen.app.conf.task_default_queue)
    _check_log(worker.log())
    lines = (tmp_path / "events").read_text().splitlines()
    _check_sentry([json.loads(line) for line in lines], run.id, len(lanes))


@pytest.mark.thorough
def test_each_forked_process_sends_its_spans(
    seen: Any, start_worker: WorkerFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the words of the how-to: the SDK is set up in each child of a worker that forks."""
    file = tmp_path / "spans"
    file.touch()
    monkeypatch.setenv("SEEN_SPANS", str(file))
    page = (_ROOT / "docs" / "how-to" / "observe.md").read_text()
    (words,) = (code for code in _PYTHON.findall(page) if "worker_process_init" in code)
    assert words.count("ConsoleSpanExporter()") == 1
    (tmp_path / "traced.py").write_text(
        "import os\n"
        "from seen import app, bulk\n"
        "def line(span): return span.to_json(indent=None) + '\\n'\n"
        + words.replace(
            "ConsoleSpanExporter()",
            "ConsoleSpanExporter(out=open(os.environ['SEEN_SPANS'], 'a'), formatter=line)",
        )
    )
    provider = TracerProvider()
    monkeypatch.setattr("opentelemetry.trace._TRACER_PROVIDER", provider)
    worker = start_worker("traced", concurrency=2)
    run = seen.bulk.submit(seen.Reprice())
    run.wait(timeout=60)
    worker.terminate()
    assert worker.wait() == 0
    provider.shutdown()
    spans = [json.loads(line) for line in file.read_text().splitlines()]
    assert {one["name"] for one in spans} == {"process shop.reprice", "finished shop.reprice"}
    chunks = [one["attributes"] for one in spans if one["name"] == "process shop.reprice"]
    done = sum(one["breakbulk.rows"] for one in chunks if one["breakbulk.outcome"] == "succeeded")
    assert done == _ROWS - 1, "none is lost, the last ones neither"
    assert len(spans) - len(chunks) == 1, "the callback's"
    trace_id = run.record().trace_id
    assert trace_id is not None
    for one in spans:
        assert one["attributes"]["breakbulk.run"] == run.id
        assert f"0x{trace_id}" in {link["context"]["trace_id"] for link in one["links"]}


def _check_flower(lanes: list[dict[str, Any]], queue: str) -> None:
    assert {one["name"] for one in lanes} == {"breakbulk.lane"}
    assert all(f"'queue': '{queue}'" in one["kwargs"] for one in lanes)
    told = " ".join(one["result"] for one in lanes)
    assert re.search(r"run 1 \(shop\.reprice\): \d+ chunks, \d+ rows", told)


def _check_log(log: str) -> None:
    failed = re.search(
        r"^\[.*: ERROR/ForkPoolWorker-1\] \[(.*)\] run 1: chunk 3 failed", log, re.MULTILINE
    )
    assert failed is not None, log
    assert failed[1] == "run 1 chunk 3 attempt 1 lane 0"
    ready = re.search(r"^\[.*/MainProcess\] \[(.*)\] .* ready\.$", log, re.MULTILINE)
    assert ready is not None, log
    assert ready[1] == "run - chunk - attempt - lane -"


def _check_sentry(events: list[dict[str, Any]], run_id: int, lanes: int) -> None:
    (event,) = [one for one in events if "exception" in one]
    assert event["transaction"] == "shop.reprice"
    place = {name: value for name, value in event["tags"].items() if name.startswith("breakbulk.")}
    assert place == {
        "breakbulk.run": str(run_id),
        "breakbulk.job": "shop.reprice",
        "breakbulk.chunk": "3",
        "breakbulk.attempt": "1",
        "breakbulk.lane": "0",
    }
    assert event["exception"]["values"][-1]["value"] == "a price below zero"
    # One a lane at most, and a lane is a slice of seconds: not one a chunk.
    spans = [one for one in events if one.get("type") == "transaction"]
    assert {one["transaction"] for one in spans} == {"breakbulk.lane"}
    assert len(spans) <= lanes + 1
