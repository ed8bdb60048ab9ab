"""Finding the application, and saying clearly why it was not found."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from breakbulk import __version__
from breakbulk.cli import breakbulk, celery_command

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Shop

Refused = Callable[[Result, int], str]
_MINIMAL = """
from celery import Celery
from breakbulk import Breakbulk
app = Celery("store", broker="memory://")
bulk = Breakbulk(database="sqlite://", celery=app)
"""


def test_help_has_examples_and_exit_codes() -> None:
    result = CliRunner().invoke(breakbulk, ["--help"])
    assert result.exit_code == 0
    assert "breakbulk -A shop.jobs:bulk run ProcessWarehouse -p rate=1.05 --watch" in result.stdout
    assert "5  paused or held" in result.stdout
    assert "lane" not in [line.split()[0] for line in result.stdout.splitlines() if line.strip()]


def test_version() -> None:
    assert CliRunner().invoke(breakbulk, ["--version"]).stdout == (
        f"breakbulk, version {__version__}\n"
    )


def test_no_application_given(shop: Shop, refused: Refused) -> None:
    shop.target = None
    assert refused(shop("jobs"), 2) == (
        "Which application? Say -A shop.jobs:bulk, or set BREAKBULK_APP=shop.jobs:bulk;"
        " of a Pyramid application, -A development.ini."
    )


def test_application_from_the_environment(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.open()
    shop.target = None
    monkeypatch.setenv("BREAKBULK_APP", "shopfront")
    assert shop("jobs").exit_code == 0
    submitted = shop("run", "reprice")
    assert "Watch it with: breakbulk watch 1" in submitted.stderr


@pytest.mark.parametrize("target", ["shopfront:bulk", "shopfront", "shopfront:app"])
def test_ways_to_name_it(shop: Shop, target: str) -> None:
    shop.open()
    assert "reprice" in shop("jobs", target=target).stdout


@pytest.mark.parametrize("module", ["jobs", "celery"])
def test_package_whose_usual_module_has_it(shop: Shop, module: str) -> None:
    shop.write("store/__init__", "")
    shop.write(f"store/{module}", _MINIMAL)
    assert shop("jobs", target="store").exit_code == 0
    assert shop("jobs", target=f"store.{module}").exit_code == 0


def test_jobs_that_celery_would_import_are_known(shop: Shop) -> None:
    shop.write("store/__init__", "")
    shop.write("store/celery", f'{_MINIMAL}app.conf.imports = ["store.nightly"]\n')
    shop.write(
        "store/nightly",
        "from store.celery import bulk\n"
        '@bulk.job(name="nightly")\n'
        "class Nightly:\n"
        "    def source(self): ...\n"
        "    def process(self, chunk): ...\n",
    )
    assert shop("jobs", target="store").stdout.startswith("nightly")


def test_several_in_one_module(shop: Shop, refused: Refused) -> None:
    shop.write(
        "store",
        'from breakbulk import Breakbulk\none = Breakbulk("sqlite://")\n'
        'two = Breakbulk("sqlite://")\n',
    )
    sentence = refused(shop("jobs", target="store"), 2)
    assert sentence == "There are several in store: say which of store:one, store:two."


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("nowhere", "There is no module 'nowhere' here: check -A and the directory you are in."),
        ("shopfront.nowhere", "There is no module 'shopfront.nowhere' here"),
        ("shopfront:nothing", "shopfront:nothing is not there"),
        ("shopfront:Base", "shopfront:Base is not a Breakbulk"),
        ("json", "There is no Breakbulk in json"),
    ],
)
def test_wrong_names(shop: Shop, refused: Refused, target: str, sentence: str) -> None:
    shop.open()
    assert sentence in refused(shop("jobs", target=target), 2)


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("\n1 / 0", "ZeroDivisionError: division by zero"),
        ("def (:", "SyntaxError: invalid syntax"),
    ],
)
def test_application_that_cannot_be_imported(
    shop: Shop, refused: Refused, content: str, cause: str
) -> None:
    shop.write("broken", content)
    sentence = refused(shop("jobs", target="broken:bulk"), 1)
    line = content.count("\n") + 1
    where = f"{shop.directory / 'broken.py'}, line {line}"
    assert sentence == f"broken cannot be imported: {cause} ({where})."


def test_debug_shows_the_traceback(shop: Shop) -> None:
    shop.write("broken", "1 / 0")
    result = shop("--debug", "jobs", target="broken")
    assert isinstance(result.exception, Exception)
    assert not isinstance(result.exception, SystemExit)


def test_rows_that_cannot_be_read_are_one_sentence(shop: Shop, refused: Refused) -> None:
    shop.open()
    shop.sql("DROP TABLE product")
    assert "no such table: product" in refused(shop("plan", "reprice"), 1)


def test_unexpected_error_is_one_sentence(
    shop: Shop, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    def odd(*_: object, **__: object) -> None:
        raise RuntimeError("nobody thought of this")

    shop.open()
    monkeypatch.setattr("breakbulk.app.Breakbulk.plan", odd)
    sentence = refused(shop("plan", "reprice"), 1)
    assert "nobody thought of this" in sentence
    assert "--debug" in sentence


class _CeleryContext:
    """What Celery's command line hands to its plug-ins, as far as we use it."""

    def __init__(self, app: object) -> None:
        self.app = app


def test_celery_command_finds_the_breakbulk_of_its_application(shop: Shop) -> None:
    shop.open()
    import shopfront  # type: ignore[import-not-found]

    context = _CeleryContext(shopfront.app)
    result = CliRunner().invoke(celery_command, ["jobs"], obj=context)
    assert result.exit_code == 0
    assert "reprice" in result.stdout


def test_celery_application_without_breakbulk(refused: Refused) -> None:
    from celery import Celery

    context = _CeleryContext(Celery("bare", broker="memory://"))
    sentence = refused(CliRunner().invoke(celery_command, ["jobs"], obj=context), 1)
    assert sentence.startswith("The Celery application bare has no Breakbulk: write bulk = ")


def test_ctrl_c(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.open()

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("breakbulk.app.Breakbulk.runs", interrupt)
    result = shop("runs")
    assert result.exit_code == 130
    assert result.stderr == "Interrupted.\n"


def test_lane_is_not_for_people(shop: Shop, refused: Refused) -> None:
    shop.open()
    assert "which starts it itself" in refused(shop("lane", "--queue", "celery"), 1)
