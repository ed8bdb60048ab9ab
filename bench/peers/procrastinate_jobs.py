"""Procrastinate jobs in PostgreSQL, deferred in one go."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from procrastinate import App, PsycopgConnector, SyncPsycopgConnector
from sqlalchemy import text

from bench.peers import work
from bench.peers.peer import WORKERS, About

# "Do not use concurrency if you have synchronous blocking tasks": two processes of one each.
# https://procrastinate.readthedocs.io/en/stable/howto/production/concurrency.html
SETTINGS = {"concurrency": 1}
ABOUT = About(
    title="Procrastinate",
    packages=("procrastinate", "psycopg"),
    settings=SETTINGS,
    why=(
        "concurrency: https://procrastinate.readthedocs.io/en/stable/howto/production/concurrency.html",
        "batch_defer: https://procrastinate.readthedocs.io/en/stable/howto/advanced/batch.html",
    ),
    end="the jobs that are not done yet are asked for (no callback)",
    durable="a job in hand stays `doing` when its process dies, until somebody retries it",
)

app = App(connector=PsycopgConnector(conninfo=work.plain_database()))


@app.task(name="part", queue="peers", retry=5)
def part(name: str, after: int) -> None:
    """One chunk."""
    work.FUNCTIONS[name](after)


@contextmanager
def _open() -> Iterator[App]:
    """The application for code that is not asynchronous."""
    connector = SyncPsycopgConnector(conninfo=work.plain_database())
    with app.replace_connector(connector) as here, here.open():
        yield here


def prepare() -> None:
    """Its tables."""
    with _open() as here:
        here.schema_manager.apply_schema()


def workers() -> Sequence[Sequence[str]]:
    """Two processes."""
    options = ("--concurrency", str(SETTINGS["concurrency"]), "--queues", "peers")
    command = work.python("procrastinate", "--app", f"{__name__}.app", "worker", *options)
    return [command for _ in range(WORKERS)]


def submit(name: str, parts: Sequence[int]) -> None:
    """Defer all."""
    with _open() as here:
        here.tasks["part"].batch_defer(*({"name": name, "after": after} for after in parts))


def done() -> float | None:
    """When no job was left, as seen from here.

    Raises:
        RuntimeError: some have failed.
    """
    query = text(
        "SELECT count(*) FILTER (WHERE status = 'failed'),"
        " count(*) FILTER (WHERE status IN ('todo', 'doing'))"
        " FROM procrastinate_jobs WHERE status <> 'succeeded'"
    )
    with work.engine().connect() as connection:
        failed, left = connection.execute(query).one()
    if failed:
        raise RuntimeError(f"{failed} of Procrastinate's jobs have failed.")
    return None if left else time.time()
