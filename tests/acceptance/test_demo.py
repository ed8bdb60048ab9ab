"""``breakbulk demo`` as people use it: real servers, real workers, nothing left afterwards."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, build_opener

import pytest
from pyramid.paster import get_appsettings
from sqlalchemy import Engine, NullPool, create_engine, inspect, make_url, text

from breakbulk import Breakbulk
from breakbulk.demo.proofs import by_ledger, by_sql
from breakbulk.embedded import scratch_directory
from tests.support import brokers, databases
from tests.support.demonstration import DEMO, Demo, demo, documents, living
from tests.support.ledgergate import LedgerGate
from tests.support.servers import Servers
from tests.support.waiting import wait_for

pytestmark = pytest.mark.usefixtures("embedded")

_DOUBLE = """
    INSERT INTO breakbulk.chunks
        (run_id, number, path, status, after, upto, rows, rows_upto, attempt)
    SELECT run_id, number, 'x', status, after, upto, rows, rows_upto, attempt
    FROM breakbulk.chunks WHERE number = 3
"""


@contextmanager
def gated(started: Demo) -> Iterator[LedgerGate]:
    """Build a gate in the database of a demo that is still filling its warehouse."""
    started.await_output(r"process \d+, process \d+|\"started\"")
    [file] = started.directory.glob("**/demo.ini")
    url = get_appsettings(str(file))["sqlalchemy.url"]
    engine = create_engine(url, poolclass=NullPool)
    gate = LedgerGate(engine)
    try:
        yield gate
    finally:
        gate.open()


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory that the embedded servers can use, also when the tests run as root."""
    with scratch_directory("breakbulk-tests-") as path:
        yield path


def test_in_a_pipe_it_ends_by_itself_and_leaves_nothing(directory: Path) -> None:
    with demo(directory, "--rows", "3000") as started:
        started.await_output("process \\d+, process \\d+")
        family = started.family()
        assert started.wait() == 0
        assert not living(family)
    lines = started.output.splitlines()
    assert any("rows/s" in line for line in lines)
    assert "\x1b" not in started.output
    assert "on a terminal, or with --stay, its page and dashboard are there, too" in (
        started.output
    )
    assert "  → 3,000 products processed in 6 chunks" in started.output
    assert "  → 6 chunks with 3,000 products succeeded" in lines
    asked = lines.index("Second proof, from the warehouse alone; ask it yourself:") + 1
    assert lines[asked].strip().startswith("SELECT version, count(*) FROM breakbulk_demo_product")
    assert lines[asked + 1] == "  → version 1: 3,000 products"
    assert "Each product was processed exactly once." in lines
    assert not list(directory.iterdir())


@pytest.mark.thorough
def test_with_autoscale_it_ends_with_as_many_workers_as_it_began_with(directory: Path) -> None:
    record = directory / "turns.jsonl"
    with demo(directory, "--autoscale", "--rows", "3000", "--record", str(record)) as started:
        started.await_output("0 to 1 workers")
        family = started.family()
        assert started.wait() == 0, started.output
        assert not living(family)
    nodes = [turn["nodes"] for turn in documents(record.read_text())]
    assert (nodes[0], nodes[-1], max(nodes) <= 4) == (1, 1, True)


def test_on_a_terminal_it_survives_a_killed_worker_and_stays(directory: Path) -> None:
    cookies = CookieJar()
    with demo(directory, "--rows", "20000", terminal=True) as started:
        with gated(started) as gate:
            shown = started.await_output(r"shop +(http://127\.0\.0\.1:\d+/login\?token=[\w-]+)")
            link = shown[1]
            browser = build_opener(HTTPCookieProcessor(cookies))
            with browser.open(link, timeout=60) as page:
                assert b"<title>The warehouse" in page.read()
            worker = int(started.await_output(r"kill -9 (\d+)")[1])
            started.await_output("2 lanes")
            gate.await_lanes(2)
            os.kill(worker, signal.SIGKILL)
            started.await_output(f"process {worker}\\) was killed by SIGKILL; process \\d+ takes")
        started.await_output("Everything stays up until you press Ctrl-C")
        # The link that was shown first has been used; here is the one for the next browser.
        again = started.await_output(r"(?s)Everything stays up.*see the shop: +(http\S+)")[1]
        with build_opener(HTTPCookieProcessor(CookieJar())).open(again, timeout=60) as page:
            assert b"<title>The warehouse" in page.read()
        assert "20,000 rows in 40 chunks" in started.output
        # What the steward has given back is not always said: the killed one's child may have done
        # what it had in hand, and so may the database with a COMMIT that had been sent.
        assert "version 1: 20,000 products" in started.output
        assert "Each product was processed exactly once." in started.output
        home = link.partition("/login")[0]
        with browser.open(f"{home}/breakbulk/runs/1", timeout=60) as page:
            assert b">succeeded<" in page.read()
        # Whoever presses the button has the next run, proofs and all.
        browser.open(home, timeout=60).close()
        token = next(cookie.value for cookie in cookies if cookie.name == "csrf_token")
        pressed = urlencode({"csrf_token": token}).encode()
        browser.open(f"{home}/process", pressed, timeout=60).close()
        started.await_output("Everything still stays up until you press Ctrl-C")
        assert "version 2: 20,000 products" in started.output
        with browser.open(home, timeout=60) as page:
            text_of_page = page.read().decode()
        assert "20,000 products processed in 40 chunks" in text_of_page
        assert "version 2: 20,000 products" in text_of_page
        family = started.family()
        started.press_ctrl_c()
        assert started.wait() == 0
        assert not living(family)
    assert not list(directory.iterdir())


@pytest.mark.thorough
def test_it_stays_without_a_terminal_where_it_is_told_to(directory: Path) -> None:
    with demo(directory, "--rows", "1000", "--stay") as started:
        said = started.await_output(
            r"(?s)Everything stays up until you end it: kill (\d+)\n.*http\S+"
        )
        assert int(said[1]) == started.process.pid
        link = started.await_output(r"see the shop: +(http\S+)\n(?=.*\n.*\n.*\n.*\n)")[1]
        with build_opener(HTTPCookieProcessor(CookieJar())).open(link, timeout=60) as page:
            assert b"<title>The warehouse" in page.read()
        started.process.send_signal(signal.SIGTERM)
        assert started.wait() == 0
    assert not list(directory.iterdir())


@pytest.mark.thorough
def test_what_is_kept_goes_on_and_can_be_used_again(directory: Path) -> None:
    options = ("--keep", str(directory / "kept"), "--rows", "20000", "--json")
    with demo(directory, *options) as first:
        with gated(first) as gate:
            gate.await_lanes(2)
            family = first.family()
            first.process.send_signal(signal.SIGINT)
            gate.await_shutdown()
        assert first.wait() == 130
        assert not living(family)
    with demo(directory, *options) as second:
        assert second.wait() == 0
    events = documents(second.output)
    assert {"event": "continued", "run": 1} in events
    assert events[-1]["rows_done"] == 20_000
    assert events[-1]["sql"]["answer"] == ["version 1: 20,000 products"]
    with demo(directory, *options, "--chunk-size", "2000") as third:
        assert third.wait() == 0
    events = documents(third.output)
    assert {"event": "filled", "products": 20_000, "filled": False} in events
    assert (events[-1]["run"], events[-1]["chunks_done"]) == (2, 10)
    assert events[-1]["sql"]["answer"] == ["version 2: 20,000 products"]


@pytest.mark.parametrize(
    "moment", ["chunk", pytest.param("process \\d+, process", marks=pytest.mark.thorough)]
)
def test_killed_at_once_it_takes_everything_with_it(moment: str, directory: Path) -> None:
    with demo(directory, "--rows", "20000") as started:
        started.await_output(moment)
        family = started.family()
        started.process.kill()
        wait_for(lambda: not living(family), message="servers and workers to end by themselves")


@pytest.mark.thorough
def test_killed_amid_its_work_it_takes_everything_with_it(directory: Path) -> None:
    with demo(directory, "--rows", "20000") as started, gated(started) as gate:
        started.await_output("2 lanes")
        gate.await_lanes(2)
        family = started.family()
        started.process.kill()
        wait_for(lambda: not living(family), message="servers and workers to end by themselves")


@pytest.mark.thorough
def test_a_signal_amid_the_filling_leaves_nothing_either(directory: Path) -> None:
    with demo(directory) as started:
        started.await_output("of 1,000,000 products")
        family = started.family()
        started.process.send_signal(signal.SIGTERM)
        assert started.wait() == 128 + signal.SIGTERM
        assert not living(family)
    assert not list(directory.iterdir())


@pytest.mark.thorough
def test_a_reader_that_goes_away_ends_it(directory: Path) -> None:
    command = f"{' '.join(DEMO)} --rows 3000 | head -n 3; echo ${{PIPESTATUS[0]}}"
    shell = Demo(["bash", "-c", command], directory, terminal=False)
    try:
        assert shell.wait() == 0
    finally:
        shell.close()
    assert len(shell.output.splitlines()[:3]) == 3
    assert "Traceback" not in shell.output
    assert shell.output.splitlines()[-1] == "1"
    assert not list(directory.iterdir())


@pytest.mark.thorough
@pytest.mark.parametrize("what", ["database", "broker"])
def test_what_does_not_answer_is_one_sentence(
    what: str, directory: Path, test_servers: Servers
) -> None:
    with databases.fresh_postgres(test_servers.postgres) as url:
        there = {"--database": url, "--broker": test_servers.valkey}
        nowhere = {
            "--database": "postgresql://x@127.0.0.1:1/x",
            "--broker": "redis://127.0.0.1:1/0",
        }
        options = there | {f"--{what}": nowhere[f"--{what}"]}
        given = [word for option in options.items() for word in option]
        with demo(directory, *given, "--rows", "100") as started:
            assert started.wait() == 7
        assert "does not answer" in started.output
        assert "Traceback" not in started.output
        assert not list(directory.iterdir())
        engine = create_engine(url, poolclass=NullPool)
        assert inspect(engine).get_schema_names() == ["information_schema", "public"]
        assert not inspect(engine).get_table_names()


class Finished(NamedTuple):
    """A demo that came to its end, with its database still there."""

    engine: Engine
    events: list[dict[str, Any]]
    output: str


@pytest.fixture(scope="module")
def finished(test_servers: Servers) -> Iterator[Finished]:
    """A demo on servers that were there before."""
    with (
        scratch_directory("breakbulk-tests-") as directory,
        databases.fresh_postgres(test_servers.postgres) as url,
        brokers.empty_redis(test_servers.valkey) as broker,
    ):
        options = ("--database", url, "--broker", broker, "--rows", "3000", "--json")
        with demo(directory, *options) as started:
            assert started.wait() == 0, started.output
        engine = create_engine(url)
        yield Finished(engine, documents(started.output), started.output)
        engine.dispose()


@pytest.mark.thorough
def test_json_tells_everything(finished: Finished, test_servers: Servers) -> None:
    names = [event["event"] for event in finished.events]
    assert names[:2] == ["starting", "started"]
    assert {"filled", "submitted", "progress"} <= set(names)
    for url in (test_servers.postgres, test_servers.valkey):
        password = make_url(url).password
        assert isinstance(password, str)
        assert password not in finished.output  # of servers that are not the demo's own
    last = finished.events[-1]
    assert (last["event"], last["status"], last["exit_code"]) == ("result", "succeeded", 0)
    assert (last["rows_done"], last["chunks_done"]) == (3000, 6)
    assert len(last["notices"]) == 1
    assert last["audit"]["holds"]
    assert last["sql"]["holds"]
    assert last["rows_per_second"] > 0
    assert 0 < last["first_progress_after"] <= last["demo_seconds"]


class TestProofs:
    """Each proof finds what is wrong, and names it."""

    @pytest.mark.parametrize(
        ("harm", "finding"),
        [
            ("UPDATE breakbulk.chunks SET upto = '[1750]' WHERE number = 3", "chunk 4 "),
            ("UPDATE breakbulk.chunks SET after = '[900]' WHERE number = 3", "chunk 3 "),
            ("DELETE FROM breakbulk.chunks WHERE number = 3", "chunk 4 "),
            (_DOUBLE, "chunk 3.x "),
            ("UPDATE breakbulk_demo_product SET version = 2 WHERE id = 4", "product 4 (certifi)"),
            ("DELETE FROM breakbulk_demo_product WHERE id = 4", "1 of 3,000 products"),
        ],
        ids=["widened", "overlapping", "deleted", "doubled", "product", "missing"],
    )
    def test_the_right_one_names_it(self, harm: str, finding: str, finished: Finished) -> None:
        engine = finished.engine
        table = "breakbulk_demo_product" if "product" in finding else "breakbulk.chunks"
        with engine.begin() as connection:
            connection.execute(text(f"CREATE TABLE aside AS TABLE {table}"))
            assert connection.execute(text(harm)).rowcount == 1
            (key,) = connection.execute(text("SELECT key FROM breakbulk_demo_expectation")).one()
            warehouse = by_sql(connection, key)
        ledger = by_ledger(Breakbulk(engine).run(1))
        assert warehouse is not None
        with engine.begin() as connection:
            connection.execute(text(f"TRUNCATE {table}"))
            connection.execute(text(f"INSERT INTO {table} TABLE aside"))
            connection.execute(text("DROP TABLE aside"))
        wrong, right = (warehouse, ledger) if "product" in finding else (ledger, warehouse)
        assert right.holds
        assert not wrong.holds
        assert wrong.findings[0].startswith(finding)

    def test_a_demo_that_is_not_proven_exits_1(
        self, sqlite_url: str, valkey_url: str, directory: Path
    ) -> None:
        program = """
import sys
from sqlalchemy import text
from breakbulk.demo.interrupts import Interrupts
from breakbulk.demo.screen import Screen
from breakbulk.demo.show import Options, show

database, broker, *harm = sys.argv[1:]

def do_harm(engine, run):
    with engine.begin() as connection:
        for statement in harm:
            connection.execute(text(statement))

with Interrupts() as interrupts:
    options = Options(rows=3000, database=database, broker=broker)
    sys.exit(show(options, Screen(), interrupts, do_harm))
"""
        harm = (
            "DELETE FROM breakbulk_chunks WHERE number = 3",
            "UPDATE breakbulk_demo_product SET version = 0 WHERE id = 4",
        )
        command = [sys.executable, "-c", program, sqlite_url, valkey_url, *harm]
        harmed = Demo(command, directory, terminal=False)
        try:
            assert harmed.wait() == 1, harmed.output
        finally:
            harmed.close()
        assert "WRONG: chunk 4 " in harmed.output
        assert "WRONG: product 4 (certifi) was not processed" in harmed.output
        assert "Not proven" in harmed.output
        assert "Each product was processed exactly once." not in harmed.output
