"""Jobs as Pyramid's configuration: scanned, named, introspected, in conflict, overridden."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pyramid.exceptions import ConfigurationConflictError

import breakbulk
from breakbulk.errors import ConfigurationError, DeclarationError, UnknownJob
from tests.support.declared import job_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.unit.pyramid.conftest import Configure

_JOB = """
import breakbulk
from sqlalchemy import Column, Integer, MetaData, Table, select

@breakbulk.job{options}
class {name}:
    "Does {name}."
    value: int = 1
    def source(self):
        return select(Table("goods", MetaData(), Column("id", Integer, primary_key=True)))
    def process(self, chunk): ...
"""

Package = Callable[..., str]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Package]:
    """Call it with modules and their text for the name of a package that has them."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(name: str = "scanned", **modules: str) -> str:
        directory = tmp_path / name
        directory.mkdir()
        (directory / "__init__.py").touch()
        for module, text in modules.items():
            (directory / f"{module}.py").write_text(text)
        return name

    yield make
    for module in set(sys.modules) - before:
        if module.startswith(("scanned", "overridden")):
            del sys.modules[module]


def names(config: Any) -> list[str]:
    return [spec.name for spec in config.registry["breakbulk"].jobs]


def test_a_scan_finds_unbound_jobs(configure: Configure, package: Package) -> None:
    name = package(
        one=_JOB.format(name="Prices", options="(name='prices', chunk_size=7, queue='bulk')"),
        two=_JOB.format(name="Stock", options=""),
        three="from scanned.one import Prices",
    )
    config = configure()
    config.scan(name)
    assert names(config) == [], "only once it is committed"
    config.commit()
    assert names(config) == ["prices", "scanned.two.Stock"]
    other = configure()
    other.commit()
    assert names(other) == [], "each application knows what it has scanned"
    job = sys.modules["scanned.one"].Prices(value=2)
    assert config.registry["breakbulk"].jobs.of(job).options.chunk_size == 7
    with pytest.raises(UnknownJob, match=r"in a module that config\.scan\(\) sees"):
        other.registry["breakbulk"].jobs.of(job)


def test_introspection_shows_them(configure: Configure, package: Package) -> None:
    config = configure()
    config.scan(package(one=_JOB.format(name="Prices", options="(name='prices', queue='bulk')")))
    config.commit()
    [found] = config.introspector.get_category("breakbulk jobs")
    shown = found["introspectable"]
    assert (shown.title, shown.type_name) == ("scanned.one.Prices", "breakbulk job")
    assert (shown["name"], shown["queue"], shown["chunk_size"]) == ("prices", "bulk", 500)
    assert (shown["doc"], shown["max_retries"]) == ("Does Prices.", 5)
    assert shown["job"] is sys.modules["scanned.one"].Prices
    assert shown.action_info.file.endswith("scanned/one.py")
    assert shown.action_info.line == 5


def test_a_scan_may_leave_them_out_by_category(configure: Configure, package: Package) -> None:
    config = configure()
    config.scan(package(one=_JOB.format(name="Prices", options="")), categories=("other",))
    config.commit()
    assert names(config) == []


def test_a_scan_without_breakbulk_takes_no_notice(package: Package) -> None:
    from pyramid.config import Configurator

    config = Configurator()
    config.scan(package(one=_JOB.format(name="Prices", options="")))
    config.commit()


@pytest.mark.parametrize("options", ["(name='same')", ""])
def test_two_of_one_name_are_a_conflict_that_names_both_places(
    configure: Configure, package: Package, options: str
) -> None:
    one = _JOB.format(name="One", options="(name='same')")
    name = package(one=one, two=one.replace("One", "Two"))
    config = configure()
    config.scan(name)
    with pytest.raises(ConfigurationConflictError) as conflict:
        config.commit()
    told = str(conflict.value)
    assert "('breakbulk job', 'same')" in told
    assert "scanned/one.py" in told
    assert "scanned/two.py" in told


def test_an_application_overrides_what_it_includes(configure: Configure, package: Package) -> None:
    included = package(one=_JOB.format(name="Theirs", options="(name='same')"))
    own = package("overridden", one=_JOB.format(name="Ours", options="(name='same')"))
    config = configure()
    config.include(lambda inner: inner.scan(included))
    config.scan(own)
    config.commit()
    assert config.registry["breakbulk"].jobs.get("same").cls.__name__ == "Ours"


def test_the_same_class_twice_is_no_conflict(configure: Configure, package: Package) -> None:
    name = package(one=_JOB.format(name="Prices", options="(name='prices')"))
    config = configure()
    config.scan(name)
    config.commit()
    config.add_breakbulk_job(f"{name}.one.Prices")
    config.commit()
    assert names(config) == ["prices"]


def test_a_class_may_be_declared_on_the_way(configure: Configure) -> None:
    for _ in range(2):  # every application that is made does so
        config = configure()
        config.add_breakbulk_job(_Plain, name="plain", chunk_size=3)
        config.commit()
        assert config.registry["breakbulk"].jobs.of(_Plain).options.chunk_size == 3
    with pytest.raises(ConfigurationError, match="has its options where it is declared"):
        configure().add_breakbulk_job(_Plain, chunk_size=4)


def test_mistakes_are_told_where_they_are_made(configure: Configure) -> None:
    with pytest.raises(DeclarationError, match=r"needs a method process\(\)"):
        configure().add_breakbulk_job(type("Job", (), {"source": lambda _self: None}))
    with pytest.raises(DeclarationError, match="has chunk_size=0"):
        configure().add_breakbulk_job(job_of(), chunk_size=0)


def test_two_by_the_directive_are_a_conflict(configure: Configure) -> None:
    config = configure()
    config.add_breakbulk_job(job_of(), name="same")
    config.add_breakbulk_job(type("Other", (), dict(vars(job_of()))), name="same")
    with pytest.raises(ConfigurationConflictError, match="tests/unit/pyramid/test_jobs"):
        config.commit()


def test_a_decorated_subclass_is_a_job_of_its_own(configure: Configure) -> None:
    base = breakbulk.job(name="tests.base")(job_of())
    child = type("Child", (base,), {})
    config = configure()
    config.add_breakbulk_job(child, name="tests.child")
    config.commit()
    assert names(config) == ["tests.child"]


class _Plain:
    """Not declared anywhere."""

    value: int = 1

    def source(self) -> Any: ...

    def process(self, chunk: Any) -> None: ...
