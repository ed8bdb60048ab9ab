"""The example as its README starts it: a web server, a worker, and a browser without a screen."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing
from http.cookiejar import CookieJar
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, HTTPRedirectHandler, Request, build_opener

import pytest
from sqlalchemy import create_engine, text

from tests.support.waiting import wait_for
from tests.support.warehouse import Gate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.workers import Worker, WorkerFactory

_ROOT = Path(__file__).parents[2]
_SHOP = _ROOT / "examples" / "pyramid_shop"
_PROGRAMS = Path(sys.executable).parent
_PRODUCTS = 3000
_INI = """
[app:main]
use = config:{base}
pyramid.includes = breakbulk breakbulk.web tests.support.shop_troubles
sqlalchemy.url = {database}
celery.broker_url = {broker}
celery.task_default_queue = {queue}
breakbulk.lease_seconds = 2
auth.secret = of the test
troubles.directory = %(here)s

[alembic]
script_location = pyramid_shop:alembic

[server:main]
use = egg:waitress#main
listen = 127.0.0.1:{port}
"""
_BUILD = """
import sys
from pyramid.paster import bootstrap
from pyramid_shop.models.meta import Base
from pyramid_shop.scripts.initialize_db import add_users, setup_models

with bootstrap("shop.ini") as env:
    bulk, request = env["registry"]["breakbulk"], env["request"]
    Base.metadata.create_all(bulk.runtime.database.engine)
    bulk.upgrade()
    with request.tm:
        setup_models(request.dbsession, int(sys.argv[1]))
        add_users(request.dbsession, "secret")
"""


class _Stays(HTTPRedirectHandler):
    """Looks at a redirection instead of following it."""

    def redirect_request(self, *_: Any) -> None:
        return None


class Shop:
    """The shop in a directory of its own: its .ini, its web server, its workers."""

    def __init__(self, directory: Path, database: str, port: int, start: WorkerFactory) -> None:
        self.ini = directory / "shop.ini"
        self.url = f"http://127.0.0.1:{port}"
        self.directory = directory
        self._start = start
        self._engine = create_engine(database)
        self._server: subprocess.Popen[bytes] | None = None
        self._browser = build_opener(HTTPCookieProcessor(CookieJar()), _Stays)

    def program(self, name: str, *arguments: str) -> str:
        """Run one of the programs that the README names; what it prints."""
        done = subprocess.run(
            [str(_PROGRAMS / name), *arguments],
            cwd=self.directory,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def build(self) -> None:
        """Make the tables and fill the warehouses, as the README says."""
        self.program("alembic", "-c", "shop.ini", "upgrade", "head")
        self.program("breakbulk", "-A", "shop.ini", "db", "upgrade")
        said = self.program(
            *("initialize_pyramid_shop_db", "shop.ini"),
            *("--products", str(_PRODUCTS), "--password", "secret"),
        )
        assert "Log in as operator or viewer with the password secret" in said

    def build_at_once(self) -> None:
        """The same in one process, for it is not what every test is about."""
        self.program("python", "-c", _BUILD, str(_PRODUCTS))

    def open(self) -> None:
        """Start the web server."""
        log = self.directory / "pserve.log"
        with log.open("wb") as output:
            self._server = subprocess.Popen(
                [str(_PROGRAMS / "pserve"), "shop.ini"],
                cwd=self.directory,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        wait_for(lambda: self._serves(log), timeout=180, message="pserve to serve")
        self.log_in()

    def _serves(self, log: Path) -> bool:
        assert self._server is not None
        assert self._server.poll() is None, log.read_text()
        try:
            self._browser.open(self.url, timeout=60).close()
        except URLError:
            return False
        return True

    def worker(self) -> Worker:
        """Start a worker with one slot."""
        return self._start(
            "pyramid_shop.celery", extra_args=("--ini", str(self.ini)), concurrency=1
        )

    def get(self, path: str) -> str:
        """What a page says."""
        with closing(self._browser.open(f"{self.url}{path}", timeout=60)) as answer:
            return str(answer.read().decode())

    def press(self, warehouse: int = 1) -> int:
        """Press a warehouse's button; the number of the run."""
        return int(self._post(f"/warehouses/{warehouse}/process")["X-Run"])

    def log_in(self) -> None:
        """Come in as somebody who may press buttons."""
        self._post("/login", name="operator", password="secret")

    def _post(self, path: str, **given: str) -> Any:
        """Send a form; the headers of the answer, which sends on."""
        token = re.search(r'name="csrf_token" value="(\w+)"', self.get("/login"))
        assert token is not None
        request = Request(  # noqa: S310  (our own server's address)
            f"{self.url}{path}", urlencode({"csrf_token": token[1], **given}).encode()
        )
        with pytest.raises(HTTPError, match="303") as answer:
            self._browser.open(request, timeout=60)
        answer.value.close()
        return answer.value.headers

    def until_ended(self, run: int) -> str:
        """Wait for a run's end; how it ended."""
        ends = ("succeeded", "partial", "failed", "cancelled")
        return wait_for(
            lambda: next((end for end in ends if f'"{end}"' in self.get(f"/runs/{run}")), ""),
            timeout=180,
            message=f"run {run} to end",
        )

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """What the database says."""
        with self._engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(statement))]

    def judge(self, run: int) -> None:
        """The whole warehouse, once, and everything that follows from it, once."""
        assert self.until_ended(run) == "succeeded"
        assert self.rows(
            "SELECT id, times_processed, processed_at IS NULL FROM warehouses ORDER BY id"
        ) == [(1, 1, False), (2, 0, True)]
        assert self.rows(
            "SELECT count(*), min(price - cost * 120 / 100), max(price - cost * 120 / 100)"
            " FROM products WHERE warehouse_id = 1"
        ) == [(_PRODUCTS, 0, 0)]
        assert self.rows("SELECT count(*) FROM products WHERE price IS NOT NULL") == [(_PRODUCTS,)]
        [(notice, url)] = self.rows("SELECT text, url FROM notices")
        assert notice.startswith(f"Harbour: succeeded, {_PRODUCTS} products, worth ")
        assert url == f"https://shop.example/breakbulk/runs/{run}"
        self.program("breakbulk", "-A", "shop.ini", "audit", str(run))

    def heard(self) -> list[str]:
        """Which attempts at which callbacks subscribers have heard of."""
        return sorted(path.name for path in self.directory.glob("heard-*"))

    def close(self) -> None:
        """End the web server."""
        self._engine.dispose()
        if self._server is not None:
            self._server.send_signal(signal.SIGTERM)
            self._server.wait(60)


def _environment() -> dict[str, str]:
    environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
    environment.pop("BREAKBULK_APP", None)
    return environment


@pytest.fixture
def shop(
    postgres_url: str, valkey_url: str, queue_name: str, start_worker: WorkerFactory, tmp_path: Path
) -> Iterator[Shop]:
    """The shop on PostgreSQL, as far as its .ini."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    shop = Shop(tmp_path, postgres_url, port, start_worker)
    shop.ini.write_text(
        _INI.format(
            base=_SHOP / "production.ini",
            database=postgres_url.replace("%", "%%"),
            broker=valkey_url,
            queue=queue_name,
            port=port,
        )
    )
    yield shop
    start_worker.close()
    shop.close()


@pytest.fixture
def open_shop(shop: Shop) -> Shop:
    """The same with its tables made and its web server up."""
    shop.build_at_once()
    shop.open()
    return shop


def test_a_button_processes_the_whole_warehouse_and_a_subscriber_marks_it(shop: Shop) -> None:
    shop.build()
    shop.open()
    shop.worker()
    run = shop.press()
    shop.judge(run)
    assert len(shop.heard()) == 1
    assert "Harbour: succeeded" in shop.get("/")
    assert ">succeeded<" in shop.get(f"/breakbulk/runs/{run}")
    with pytest.raises(HTTPError, match="404") as missed:
        shop.get("/runs/1000000")
    missed.value.close()


@pytest.mark.thorough
def test_a_subscriber_that_raises_is_tried_again_and_marks_it_once(open_shop: Shop) -> None:
    shop = open_shop
    for number in range(2):
        (shop.directory / f"raise-{number}").touch()
    # The shop's job waits a minute before it tries again; nobody has to.
    shop.worker()
    run = shop.press()
    wait_for(shop.heard, timeout=120, message="the first try")
    for attempt in (1, 2):
        _hurry(shop, run, attempt)
    shop.judge(run)
    attempts = [name.split("-")[2] for name in shop.heard()]
    assert attempts == ["1", "2", "3"]
    failures = shop.rows("SELECT message FROM breakbulk.failures WHERE number IS NULL")
    assert failures == [("the subscriber does not feel like it",)] * 2


def _hurry(shop: Shop, run: int, attempt: int) -> None:
    """Let the next try be due now, once this one is on record as failed."""
    with shop._engine.connect() as connection:
        changed = wait_for(
            lambda: _due(connection, run, attempt),
            timeout=120,
            message=f"attempt {attempt} at the callback to fail",
        )
    assert changed == 1


def _due(connection: Any, run: int, attempt: int) -> int:
    changed = connection.execute(
        text(
            "UPDATE breakbulk.runs SET finish_after = clock_timestamp()"
            " WHERE id = :run AND finish_attempt = :attempt AND finisher IS NULL"
            " AND finish_after > clock_timestamp()"
        ),
        {"run": run, "attempt": attempt},
    )
    connection.commit()
    return int(changed.rowcount)


@pytest.mark.thorough
@pytest.mark.parametrize("whole", [True, False])
def test_a_worker_that_is_killed_in_the_callback(open_shop: Shop, *, whole: bool) -> None:
    shop = open_shop
    gate = shop.directory / "gate"
    gate.mkdir()
    worker = shop.worker()
    run = shop.press()
    [(_name, pid)] = wait_for(lambda: Gate(gate).arrived(), timeout=120, message="the callback")
    # All is written and nothing is committed.
    assert shop.rows("SELECT sum(times_processed) FROM warehouses") == [(0,)]
    if whole:
        worker.kill_all()
        shop.worker()
    else:
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: len(Gate(gate).arrived()) == 2, timeout=120, message="the callback again")
    Gate(gate).open()
    shop.judge(run)
    assert len({name.split("-")[3] for name in shop.heard()}) == 2, "two processes, one mark"


@pytest.mark.thorough
def test_without_a_broker_the_button_answers_and_the_run_is_safe(open_shop: Shop) -> None:
    shop = open_shop
    text_of_ini = shop.ini.read_text()
    shop.close()
    shop.ini.write_text(
        re.sub(r"(celery\.broker_url = ).*", r"\1redis://127.0.0.1:1/0", text_of_ini)
    )
    shop.open()
    began = time.monotonic()
    run = shop.press()
    assert time.monotonic() - began < 60
    assert '"running"' in shop.get(f"/runs/{run}")
    assert "0 products done, running, waiting: " in shop.get("/")
    shop.ini.write_text(text_of_ini)
    shop.worker()
    shop.judge(run)


@pytest.mark.thorough
def test_its_own_tests_pass(tmp_path: Path) -> None:
    # On a file of their own: what is in the checkout may be of another day.
    ini = tmp_path / "testing.ini"
    ini.write_text(
        f"[app:main]\nuse = config:{_SHOP / 'testing.ini'}\n"
        "sqlalchemy.url = sqlite:///%(here)s/testing.sqlite\n"
        "[alembic]\nscript_location = pyramid_shop:alembic\n"
    )
    options = ["-q", "-p", "no:cacheprovider", "--ini", str(ini)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(_SHOP)],
        cwd=tmp_path,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
