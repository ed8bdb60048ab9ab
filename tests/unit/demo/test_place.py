"""The ``.ini`` by which the processes of a demo find one another."""

from __future__ import annotations

import stat
from pathlib import Path

from pyramid.paster import get_appsettings

from breakbulk.demo import place


def write(file: Path) -> None:
    place.write(
        file, database="postgresql+psycopg://u:a%40b@h/d", broker="redis://:%25@h/0", chunk_size=50
    )


def test_comes_back_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "demo.ini"
    write(file)
    settings = get_appsettings(str(file))
    assert settings["sqlalchemy.url"] == "postgresql+psycopg://u:a%40b@h/d"
    assert settings["celery.broker_url"] == "redis://:%25@h/0"
    assert settings["shop.chunk_size"] == "50"


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    file = tmp_path / "demo.ini"
    file.write_text("of an earlier demo")
    file.chmod(0o644)
    write(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
