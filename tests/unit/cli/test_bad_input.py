"""Bad input: one sentence that says what to do, the right exit code, nothing half-made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest
from click.testing import Result

from breakbulk.cli import breakbulk
from breakbulk.ledger.schema import HEAD

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Shop

Refused = Callable[[Result, int], str]
_NEITHER = {"jobs", "plan", "doctor", "db", "demo", "lane", "token", "webhooks", "healthcheck"}
"""Verbs that need no ledger's tables, or have more to say of them than a sentence."""
_OF_NO_RUN = [
    *(["run", "reprice"], ["runs"], ["backlog"], ["serve"], ["exporter"], ["webhooks", "list"]),
    ["autoscale", "--once", "--worker", "true"],
]
# Whoever adds a verb adds it here: by default it is one about a run.
_OF_ONE_RUN = sorted(
    set(breakbulk.list_commands(click.Context(breakbulk)))
    - _NEITHER
    - {verb for verb, *_ in _OF_NO_RUN}
)
#: What some of these need besides.
_BESIDES = {"lanes": ["2"], "limit": ["--only", "none"]}
_OF_THE_LEDGER = [
    *_OF_NO_RUN,
    ["token", "list"],
    *([verb, "1", *_BESIDES.get(verb, [])] for verb in _OF_ONE_RUN),
]
_NOBODY_LISTENS = "127.0.0.1:1"


@pytest.mark.parametrize("verb", ["plan", "run"])
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nope"], "There is no job 'nope'; known jobs: mend, reprice."),
        (
            ["reprice", "-p", "faktor=3"],
            "The job reprice has no parameter 'faktor'; it has: factor, password.",
        ),
        (
            ["reprice", "-p", "factor=many"],
            "The parameter 'factor' of reprice takes int, not 'many'",
        ),
        (["mend"], "The job mend needs the parameter 'only' (list[int])."),
        (["mend", "-p", 'only:=["a"]'], "The parameter 'only' of mend takes list[int], not ['a']"),
    ],
)
def test_job_and_parameters(
    shop: Shop, refused: Refused, verb: str, arguments: list[str], sentence: str
) -> None:
    shop.open()
    assert refused(shop(verb, *arguments), 2).startswith(sentence)
    assert shop.json("runs")["runs"] == []


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("factor", "'factor' is not NAME=VALUE, as in rate=1.05."),
        ("=3", "'=3' is not NAME=VALUE, as in rate=1.05."),
        ("only:=[1", "'[1' is not JSON"),
    ],
)
def test_parameters_that_cannot_be_read(shop: Shop, given: str, sentence: str) -> None:
    shop.open()
    result = shop("run", "reprice", "-p", given)
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert shop.json("runs")["runs"] == []


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (("--eta", "tonight"), "'tonight' is no time, as in 2026-01-31T22:00Z."),
        (
            ("--eta", "2026-01-31T22:00"),
            "'2026-01-31T22:00' says no zone: write 2026-01-31T22:00Z for UTC",
        ),
        (("--countdown", "-1"), "-1.0 is not in the range"),
        (("--countdown", "inf"), "inf is not in the range"),
        (("--countdown", "nan"), "nan is no number of seconds."),
        (("--countdown", "1", "--eta", "2126-01-31T22:00Z"), "either --countdown or --eta"),
    ],
)
def test_when_to_start_that_cannot_be_read(
    shop: Shop, given: tuple[str, ...], sentence: str
) -> None:
    shop.open()
    result = shop("run", "reprice", *given)
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert shop.json("runs")["runs"] == []


def test_parameter_given_twice(shop: Shop) -> None:
    shop.open()
    result = shop("run", "reprice", "-p", "factor=1", "-p", "factor=2")
    assert result.exit_code == 2
    assert "'factor' is given twice." in result.stderr


def test_secret_is_not_repeated_in_the_sentence(shop: Shop, refused: Refused) -> None:
    shop.open()
    sentence = refused(shop("run", "reprice", "-p", "password:=5"), 2)
    assert "'password' of reprice takes str" in sentence
    assert "5" not in sentence


@pytest.mark.parametrize("verb", ["plan", "run"])
def test_source_without_usable_key(shop: Shop, refused: Refused, verb: str) -> None:
    shop.open()
    shop.write(
        "store",
        "from shopfront import bulk\nfrom sqlalchemy import column, select, table\n"
        '@bulk.job(name="keyless")\nclass Keyless:\n'
        "    def source(self): return select(table('product', column('price')))\n"
        "    def process(self, chunk): ...\n",
    )
    sentence = refused(shop(verb, "keyless", target="store"), 1)
    assert "key" in sentence
    assert shop.json("runs")["runs"] == []


def test_chunk_size_0(shop: Shop, refused: Refused) -> None:
    shop.write(
        "store",
        'from breakbulk import Breakbulk\nbulk = Breakbulk("sqlite://")\n'
        "@bulk.job(chunk_size=0)\nclass Reprice:\n"
        "    def source(self): ...\n    def process(self, chunk): ...\n",
    )
    sentence = refused(shop("jobs", target="store"), 1)
    assert (
        sentence
        == "The job Reprice has chunk_size=0: it must be a whole number from 1 up, or 'auto'."
    )


def test_second_database_without_at_least_once(shop: Shop, refused: Refused) -> None:
    shop.write(
        "store",
        "from breakbulk import Breakbulk\n"
        'bulk = Breakbulk("sqlite:///ledger.db", data="sqlite:///rows.db")\n',
    )
    sentence = refused(shop("jobs", target="store"), 1)
    assert "Breakbulk(…, at_least_once=True)" in sentence
    assert not list(Path(shop.directory).glob("*.db"))


@pytest.mark.parametrize(
    "arguments",
    [["plan", "reprice"], ["db", "upgrade"], ["db", "status"], *_OF_THE_LEDGER],
    ids=" ".join,
)
def test_unreachable_database(shop: Shop, refused: Refused, arguments: list[str]) -> None:
    shop.open()
    database = f"postgresql+psycopg://nobody@{_NOBODY_LISTENS}/nothing"
    shop.write(
        "store",
        "from breakbulk import Breakbulk\nfrom shopfront import Mend, Product, app, select\n"
        f"bulk = Breakbulk({database!r}, celery=app)\n"
        '@bulk.job(name="reprice")\nclass Reprice:\n'
        "    def source(self): return select(Product)\n    def process(self, chunk): ...\n",
    )
    sentence = refused(shop(*arguments, target="store:bulk"), 7)
    assert sentence.startswith("The ledger's database does not answer (")
    assert sentence.endswith("check the URL and that the server runs.")


def test_unreachable_broker_only_delays_the_run(shop: Shop) -> None:
    shop.open(broker=f"redis://{_NOBODY_LISTENS}/0")
    result = shop("run", "reprice")
    assert result.exit_code == 0
    assert result.stdout == 'Run 1 of reprice(factor=2, password="***") is submitted, ≈ 5 rows.\n'
    assert result.stderr.splitlines() == [
        (
            "The broker does not answer. Run 1 is safe in the ledger and starts as soon as the"
            " broker or a worker is back."
        ),
        "Watch it with: breakbulk -A shopfront:bulk watch 1",
    ]
    assert shop.json("status", "1")["run"]["status"] == "running"


@pytest.mark.parametrize(
    ("version", "needed", "sentence"),
    [
        (None, HEAD, "The ledger's tables are missing: run 'breakbulk db upgrade' first."),
        ("9999", HEAD, "The ledger's tables are newer (version 9999)"),
        (HEAD, "0999", f"The ledger's tables are too old (version {HEAD}"),
    ],
)
@pytest.mark.parametrize("arguments", _OF_THE_LEDGER, ids=" ".join)
def test_tables_of_another_version(
    shop: Shop,
    refused: Refused,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    version: str | None,
    needed: str,
    sentence: str,
) -> None:
    shop.open()
    if version is None:
        shop.sql("DROP TABLE breakbulk_schema_version")
    else:
        shop.sql(f"UPDATE breakbulk_schema_version SET version_num = '{version}'")
    monkeypatch.setattr("breakbulk.ledger.migrations.HEAD", needed)
    assert refused(shop(*arguments), 7).startswith(sentence)
    assert shop.sql("SELECT count(*) FROM breakbulk_runs") == [(0,)]


@pytest.mark.parametrize("verb", _OF_ONE_RUN)
def test_unknown_run(shop: Shop, refused: Refused, verb: str) -> None:
    shop.open()
    for number in ("7", "0", "9" * 30):
        sentence = refused(shop(verb, number, *_BESIDES.get(verb, [])), 2)
        assert sentence == f"There is no run {number}; 'breakbulk runs' lists them."


@pytest.mark.parametrize(
    "arguments", [["runs", "--before", "9" * 30], ["errors", "1", "--after", "9" * 30]]
)
def test_pages_that_no_database_has(shop: Shop, arguments: list[str]) -> None:
    shop.open()
    shop("run", "reprice")
    result = shop(*arguments)
    assert result.exit_code == 2
    assert "is not in the range 1<=x<=9223372036854775807." in result.stderr


def test_broker_that_cannot_be_used(shop: Shop) -> None:
    shop.open(broker="carrier-pigeon://coop")
    assert shop("doctor").exit_code == 7
    assert shop.json("doctor")["findings"][0]["what"] == (
        "The broker at carrier-pigeon://coop/ cannot be used (No such transport: carrier-pigeon):"
        " check broker_url, and that the client that it needs is installed."
    )
    result = shop("run", "reprice")
    assert (result.exit_code, "Traceback" in result.output) == (0, False)
    assert "Run 1 is safe in the ledger" in result.stderr


def test_run_that_still_goes_on(shop: Shop, refused: Refused) -> None:
    shop.open()
    shop("run", "reprice")
    sentence = refused(shop("run", "reprice"), 1)
    assert sentence.startswith("Run 1 of reprice with the same parameters is still running")


def test_no_number_of_seconds(shop: Shop) -> None:
    shop.open()
    shop("run", "reprice")
    result = shop("watch", "1", "--timeout", "nan")
    assert result.exit_code == 2
    assert "nan is no number of seconds." in result.stderr


def test_timeout_without_waiting(shop: Shop) -> None:
    shop.open()
    result = shop("run", "reprice", "--timeout", "5")
    assert result.exit_code == 2
    assert "--timeout needs --watch or --wait." in result.stderr
    assert shop.json("runs")["runs"] == []
