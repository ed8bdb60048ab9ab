"""The Celery application that loads its Pyramid application from an .ini."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from breakbulk import Breakbulk
from breakbulk.errors import ConfigurationError
from breakbulk.pyramid.celery import celery_app, loading

if TYPE_CHECKING:
    from tests.unit.pyramid.conftest import Configure

_ROOT = Path(__file__).parents[3]
_FILES = {
    "shop.ini": """
[app:main]
use = call:celeryshop:main
pyramid.includes = breakbulk
breakbulk.database = sqlite:///%(here)s/shop.sqlite
celery.broker_url = memory://
celery.task_default_queue = shopping
""",
    "celeryshop/__init__.py": """
from pyramid.config import Configurator

def main(global_config, **settings):
    with Configurator(settings=settings) as config:
        config.scan()
    return config.make_wsgi_app()
""",
    "celeryshop/celery.py": """
from breakbulk.pyramid.celery import celery_app

app = celery_app("celeryshop")

@app.task
def greet():
    print("hello")
""",
    "celeryshop/jobs.py": """
import breakbulk

@breakbulk.job(name="reprice")
class Reprice:
    def source(self): ...
    def process(self, chunk): ...
""",
}


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    for name, text in _FILES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return tmp_path


def celery(shop: Path, *arguments: str, ini: str | None = None) -> tuple[int, str, str]:
    done = _python(shop, "-m", "celery", "-A", "celeryshop.celery", *arguments, ini=ini)
    return done.returncode, done.stdout, done.stderr


def _python(
    shop: Path, *arguments: str, ini: str | None = None
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": f"{_ROOT}{os.pathsep}{shop}"}
    environment.pop("BREAKBULK_APP", None)
    if ini is not None:
        environment["BREAKBULK_APP"] = ini
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=shop,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_its_command_line_knows_the_jobs_and_the_settings(shop: Path) -> None:
    code, out, errors = celery(shop, "breakbulk", "--ini", "shop.ini", "jobs")
    assert code == 0, errors
    assert "reprice" in out
    assert "queue shopping" in out
    assert celery(shop, "breakbulk", "jobs", ini="shop.ini")[1] == out


@pytest.mark.thorough
@pytest.mark.parametrize("made", ["celery_app", "theirs"])
def test_one_that_the_application_names_is_the_one_in_every_process(shop: Path, made: str) -> None:
    ini = shop / "shop.ini"
    ini.write_text(ini.read_text() + "breakbulk.celery = celeryshop.celery:app\n")
    if made == "theirs":
        (shop / "celeryshop" / "celery.py").write_text(
            "from celery import Celery\n"
            "from breakbulk.pyramid.celery import load_in_workers\n"
            'app = Celery("theirs", broker="memory://", set_as_current=False)\n'
            "load_in_workers(app)\n"
        )
    code, out, errors = celery(shop, "breakbulk", "--ini", "shop.ini", "jobs")
    assert code == 0, errors
    assert "queue shopping" in out
    done = _python(shop, "-m", "breakbulk", "-A", "shop.ini", "jobs")
    assert done.returncode == 0, done.stderr
    assert done.stdout == out


@pytest.mark.parametrize(
    ("ini", "told"),
    [
        (None, "Which .ini is the application's? Say --ini development.ini, or set BREAKBULK_APP="),
        ("shop.jobs:bulk", "Which .ini is the application's, and shop.jobs:bulk is none?"),
        ("nowhere.ini", "There is no file nowhere.ini here"),
        ("shop.ini#mian", "shop.ini has no section [app:mian]: it has [app:main]."),
    ],
)
def test_an_application_that_cannot_be_found(
    shop: Path, monkeypatch: pytest.MonkeyPatch, ini: str | None, told: str
) -> None:
    monkeypatch.chdir(shop)
    monkeypatch.delenv("BREAKBULK_APP", raising=False)
    if ini is not None:
        monkeypatch.setenv("BREAKBULK_APP", ini)
    app = celery_app("shop")
    with pytest.raises(click.ClickException) as tasks:
        app.loader.init_worker()
    with pytest.raises(click.ClickException) as settings:
        app.conf.broker_url  # noqa: B018  (asks for it)
    assert str(tasks.value) == str(settings.value)
    assert str(tasks.value).startswith(told)


def test_a_worker_that_cannot_find_it_says_so_in_one_sentence(shop: Path) -> None:
    code, _, errors = celery(shop, "worker", "--ini", "nowhere.ini")
    assert code == 1
    assert errors == "Error: There is no file nowhere.ini here: check its name and where you are.\n"


def test_importing_it_loads_nothing(configure: Configure) -> None:
    app = celery_app("shop")
    config = configure({"breakbulk.celery": app, "celery.task_default_queue": "shopping"})
    assert config.registry["breakbulk"].celery is app
    assert app.conf.task_default_queue == "shopping", "the web process gives it its settings"
    assert Breakbulk.of(app) is config.registry["breakbulk"]


def test_while_a_worker_loads_it_its_celery_application_is_the_one(configure: Configure) -> None:
    app = celery_app("shop")
    with loading(app):
        config = configure()
        assert config.registry["breakbulk"].celery is app
        with pytest.raises(
            ConfigurationError, match=r"was started with another Celery application"
        ):
            configure({"breakbulk.celery": celery_app("another")})
