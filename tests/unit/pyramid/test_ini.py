"""``breakbulk -A development.ini``, and what it says when that does not lead anywhere."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from breakbulk.cli import breakbulk

if TYPE_CHECKING:
    from collections.abc import Iterator

_INI = """
[app:main]
use = call:inishop:main
pyramid.includes = {includes}
breakbulk.database = sqlite:///%(here)s/shop.sqlite
celery.broker_url = memory://
{more}

[app:other]
use = call:inishop:main
pyramid.includes = breakbulk
breakbulk.database = sqlite:///%(here)s/other.sqlite
celery.broker_url = memory://

[pipeline:piped]
pipeline = nothing main

[filter:nothing]
paste.filter_app_factory = inishop:nothing

[server:main]
use = egg:waitress#main
"""
_MODULE = """
from pyramid.config import Configurator
import breakbulk
from sqlalchemy import Column, Integer, MetaData, Table, select

PRODUCT = Table("product", MetaData(), Column("id", Integer, primary_key=True))

@breakbulk.job(name="reprice")
class Reprice:
    "Recalculate every price."
    def source(self):
        return select(PRODUCT)
    def process(self, chunk): ...

def main(global_config, **settings):
    with Configurator(settings=settings) as config:
        config.scan("inishop")
        {more}
    return config.make_wsgi_app()

def nothing(app, global_conf):
    return lambda environ, start_response: app(environ, start_response)
"""

Shop = Callable[..., Result]


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """Call it with a command line's arguments; options say what is odd about the application."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BREAKBULK_APP", raising=False)

    def run(
        *arguments: str, includes: str = "breakbulk", more: str = "", code: str = "pass"
    ) -> Result:
        (tmp_path / "shop.ini").write_text(_INI.format(includes=includes, more=more))
        (tmp_path / "inishop.py").write_text(_MODULE.replace("{more}", code))
        sys.modules.pop("inishop", None)
        return CliRunner().invoke(breakbulk, arguments, prog_name="breakbulk")

    yield run
    sys.modules.pop("inishop", None)


def sentence(result: Result, code: int) -> str:
    assert result.exit_code == code, result.output
    assert not result.stdout
    [line] = result.stderr.strip().splitlines()
    return line.removeprefix("Error: ")


@pytest.mark.parametrize("section", ["", "#main", "#piped"])
def test_the_application_is_found_with_its_jobs(shop: Shop, section: str) -> None:
    result = shop("-A", f"shop.ini{section}", "jobs")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("reprice  Recalculate every price.")


def test_verbs_work_on_its_database(shop: Shop, tmp_path: Path) -> None:
    assert shop("-A", "shop.ini", "db", "upgrade").exit_code == 0
    assert (tmp_path / "shop.sqlite").exists()
    assert json.loads(shop("-A", "shop.ini#main", "runs", "--json").stdout)["runs"] == []
    told = shop("-A", "shop.ini#other", "runs")
    assert told.exit_code == 7
    assert "db upgrade" in told.stderr


def test_from_the_environment(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BREAKBULK_APP", "shop.ini#other")
    assert shop("jobs").stdout.startswith("reprice")


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("nowhere.ini", "There is no file nowhere.ini here: check its name and where you are."),
        (
            "shop.ini#mian",
            "shop.ini has no section [app:mian]: it has [app:main], [app:other], [pipeline:piped].",
        ),
        ("empty.ini", "empty.ini has no section [app:main]: it has no application at all."),
    ],
)
def test_what_is_not_there(shop: Shop, tmp_path: Path, target: str, told: str) -> None:
    (tmp_path / "empty.ini").write_text("[server:main]\nuse = egg:waitress#main\n")
    assert sentence(shop("-A", target, "jobs"), 2) == told


def test_an_application_without_breakbulk(shop: Shop) -> None:
    assert sentence(shop("-A", "shop.ini", "jobs", includes=""), 1) == (
        "The application of shop.ini does not include Breakbulk: add breakbulk to its"
        ' pyramid.includes, or call config.include("breakbulk").'
    )


@pytest.mark.parametrize(
    ("odd", "told"),
    [
        (
            {"more": "breakbulk.slise_seconds = 5"},
            "There is no setting breakbulk.slise_seconds: did you mean breakbulk.slice_seconds?",
        ),
        (
            {"more": "celery.broker_ulr = redis://"},
            "Celery has no setting celery.broker_ulr: did you mean celery.broker_url?",
        ),
        ({"code": "1 / 0"}, "shop.ini cannot be loaded: ZeroDivisionError: division by zero ("),
        (
            {"code": "config.add_breakbulk_job(type('Other', (), dict(source=1)))"},
            "The job Other needs a method source()",
        ),
    ],
)
def test_what_its_start_says_is_told_in_one_sentence(
    shop: Shop, odd: dict[str, str], told: str
) -> None:
    result = shop("-A", "shop.ini", "jobs", **odd)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {told}")
    assert "Traceback" not in result.stderr


def test_a_conflict_names_both_places(shop: Shop) -> None:
    code = (
        "config.add_breakbulk_job(type('A', (), dict(source=main, process=main)), name='same');"
        " config.add_breakbulk_job(type('B', (), dict(source=main, process=main)), name='same')"
    )
    told = sentence(shop("-A", "shop.ini", "jobs", code=code), 1)
    assert "ConfigurationConflictError: Conflicting configuration actions" in told
    assert told.count("inishop.py") == 3


def test_without_pyramid(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "plaster", None)
    monkeypatch.delitem(sys.modules, "breakbulk.pyramid.ini", raising=False)
    assert sentence(shop("-A", "shop.ini", "jobs"), 2) == (
        "shop.ini is a Pyramid application's, and there is no plaster here:"
        " pip install 'breakbulk[web]'."
    )
