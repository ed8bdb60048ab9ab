"""A worker that is cut off without a FIN: others have its chunk within a lease."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import make_url

from breakbulk.embedded import EmbeddedPostgres
from breakbulk.embedded.cluster import prepare
from tests.chaos.faults.brokers import CELERY
from tests.chaos.faults.databases import STEWARD
from tests.support.arenas import SAYINGS
from tests.support.namespaces import namespace
from tests.support.proxy import Proxy
from tests.support.servers import TEST_SETTINGS
from tests.support.waiting import SLACK, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.stages import Stages

_ROWS = 200
_LEASE = 2.0


@dataclass(frozen=True)
class Far:
    """How a worker somewhere else sees the world.

    Attributes:
        near: the database's URL for everybody else.
        options: of the worker.
        cut: from now on nothing gets through to it; ``mend``: everything does again.
    """

    near: str
    options: dict[str, Any]
    cut: Callable[[], None]
    mend: Callable[[], None]


@contextmanager
def _behind_proxies(postgres_url: str, valkey_url: str, _directory: Path) -> Iterator[Far]:
    with Proxy(postgres_url) as database, Proxy(valkey_url) as broker:

        def cut() -> None:
            database.blackhole()
            broker.blackhole()

        def mend() -> None:
            database.heal()
            broker.heal()

        options = {"database": database.url, "broker": broker.url}
        yield Far(near=postgres_url, options=options, cut=cut, mend=mend)


@contextmanager
def _in_a_namespace(_postgres_url: str, valkey_url: str, directory: Path) -> Iterator[Far]:
    with namespace() as there, Proxy(valkey_url, host=there.address) as broker:
        server = EmbeddedPostgres(directory / "near", settings=TEST_SETTINGS)
        server._settings["listen_addresses"] += f",{there.address}"
        with (prepare(directory / "near").data / "pg_hba.conf").open("a") as access:
            access.write(f"host all all {there.address}/30 scram-sha-256\n")
        with server:
            # Not by way of a proxy, which would answer the server in the worker's place.
            url = make_url(server.url).set(host=there.address)
            yield Far(
                near=server.url,
                options={
                    "database": url.render_as_string(hide_password=False),
                    "broker": broker.url,
                    "within": there.within,
                },
                cut=there.cut,
                mend=there.mend,
            )


@pytest.fixture(
    params=[
        pytest.param(_behind_proxies, id="proxies"),
        pytest.param(_in_a_namespace, id="namespace", marks=pytest.mark.thorough),
    ]
)
def far(
    request: pytest.FixtureRequest, postgres_url: str, valkey_url: str, tmp_path: Path
) -> Iterator[Far]:
    """Where a worker is that can be cut off."""
    with request.param(postgres_url, valkey_url, tmp_path) as far:
        yield far


def test_a_worker_that_is_cut_off(
    far: Far, valkey_url: str, set_stage: Stages, record_property: Any
) -> None:
    """Its session goes on with the rows locked: the server waits for it, and it for the server."""
    stage = set_stage(
        far.near,
        valkey_url,
        job={"chunk_size": 50, "retry_delay": 0},
        knobs={"lease_seconds": _LEASE},
    )
    stage.fill(_ROWS)
    cut_off = stage.worker(concurrency=1, **far.options)
    gate = stage.gate()
    run = stage.submit(gate=str(gate.directory), gated=1)
    # Its work is written then, and not committed.
    wait_for(gate.arrived, message="the far worker to be at its chunk")
    near = stage.worker(concurrency=1)
    far.cut()
    at = time.monotonic()
    wait_for(lambda: len(gate.arrived()) > 1, message="the near worker to be at the same chunk")
    took = time.monotonic() - at
    gate.open()
    stage.until_succeeded(run)
    assert "ending database session" in near.log()
    assert not stage.attempts(run), "a lost machine costs no attempt"
    assert stage.losses(run) == {1: 1}
    far.mend()
    wait_for(lambda: "connection lost" in cut_off.log(), message="the far worker to find out")
    # It is welcome again, as a worker like any other.
    again = stage.submit()
    stage.until_succeeded(again)
    stage.judge(run, again, rows=_ROWS, complaints=[STEWARD, *CELERY])
    record_property(SAYINGS, f"a worker that is cut off: its chunk begun again after {took:.2f} s")
    assert took < _LEASE + SLACK, f"the near worker took over after {took:.1f} s"
    stage.finish()
