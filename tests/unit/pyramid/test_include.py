"""What ``config.include("breakbulk")`` gives an application, and what it asks of it."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
import zope.sqlalchemy
from celery import Celery
from pyramid.config import Configurator
from pyramid.path import DottedNameResolver
from sqlalchemy import create_engine
from sqlalchemy.orm import scoped_session, sessionmaker

from breakbulk import Breakbulk
from breakbulk.errors import ConfigurationError
from breakbulk.pyramid import OPERATE, VIEW
from breakbulk.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.unit.pyramid.conftest import Configure


@pytest.fixture
def shop() -> Iterator[ModuleType]:
    """A module that settings may name."""
    module = ModuleType("shop_for_include")
    sys.modules[module.__name__] = module
    yield module
    del sys.modules[module.__name__]


def test_the_application_gets_a_breakbulk_of_its_own(configure: Configure) -> None:
    one = configure({"breakbulk.slice_seconds": "2"}).make_wsgi_app()
    two = configure().make_wsgi_app()
    bulk = one.registry["breakbulk"]
    assert isinstance(bulk, Breakbulk)
    assert bulk is not two.registry["breakbulk"]
    assert bulk.runtime.settings == Settings(slice_seconds=2)
    assert bulk.runtime.database.engine is one.registry["dbsession_factory"].kw["bind"]
    assert bulk.celery is not None
    assert bulk.celery is not two.registry["breakbulk"].celery
    assert bulk.celery.conf.broker_url == "memory://"


def test_an_ini_may_include_it_before_the_models() -> None:
    config = Configurator(
        settings={"pyramid.includes": "breakbulk", "celery.broker_url": "memory://"}
    )
    config.registry["dbsession_factory"] = factory = sessionmaker(create_engine("sqlite://"))
    app = config.make_wsgi_app()
    assert app.registry["breakbulk"].runtime.database.engine is factory.kw["bind"]


def test_twice_is_once(configure: Configure) -> None:
    config = configure()
    bulk = config.registry["breakbulk"]
    config.include("breakbulk")
    config.commit()
    assert config.registry["breakbulk"] is bulk


def test_permissions_are_known_to_introspection(configure: Configure) -> None:
    config = configure()
    config.commit()
    found = {
        one["introspectable"]["value"] for one in config.introspector.get_category("permissions")
    }
    assert {VIEW, OPERATE} <= found


def test_without_a_database_the_application_does_not_start() -> None:
    config = Configurator(settings={"celery.broker_url": "memory://"})
    config.include("breakbulk")
    with pytest.raises(ConfigurationError, match=r"set breakbulk\.database, or put a sessionmaker"):
        config.make_wsgi_app()


@pytest.mark.parametrize("how", ["name", "object", "url", "callable"])
def test_the_database_may_be_named(configure: Configure, shop: ModuleType, how: str) -> None:
    factory = sessionmaker(create_engine("sqlite:///named.sqlite"))
    shop.sessions = factory  # type: ignore[attr-defined]
    shop.ask = lambda: factory  # type: ignore[attr-defined]
    given: dict[str, Any] = {
        "name": f"{shop.__name__}:sessions",
        "object": factory,
        "url": "sqlite:///named.sqlite",
        "callable": f"{shop.__name__}.ask",
    }
    app = configure({"breakbulk.database": given[how]}).make_wsgi_app()
    assert str(app.registry["breakbulk"].runtime.database.engine.url) == "sqlite:///named.sqlite"


@pytest.mark.parametrize("name", ["nowhere.sessions", "shop_for_include:nothing", ".relative"])
def test_a_database_that_is_not_there(configure: Configure, shop: ModuleType, name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"There is no {name}, which a breakbulk setting"):
        configure({"breakbulk.database": name}).make_wsgi_app()


@pytest.mark.parametrize("scoped", [True, False])
def test_a_sessionmaker_that_only_a_transaction_manager_may_commit(
    configure: Configure, *, scoped: bool
) -> None:
    factory: Any = sessionmaker(create_engine("sqlite://"))
    if scoped:
        factory = scoped_session(factory)
    zope.sqlalchemy.register(factory)
    config = configure()
    config.registry["dbsession_factory"] = factory
    with pytest.raises(ConfigurationError, match=r"is registered with zope\.sqlalchemy"):
        config.make_wsgi_app()


def test_a_second_database_has_to_be_accepted(configure: Configure) -> None:
    settings = {
        "breakbulk.database": "sqlite:///one.sqlite",
        "breakbulk.data": "sqlite:///2.sqlite",
    }
    with pytest.raises(ConfigurationError, match="another database than the ledger"):
        configure(settings)
    app = configure({**settings, "breakbulk.at_least_once": "true"}).make_wsgi_app()
    assert app.registry["breakbulk"].runtime.at_least_once


def test_a_celery_application_may_be_named(configure: Configure, shop: ModuleType) -> None:
    celery = Celery("theirs", set_as_current=False)
    shop.app = celery  # type: ignore[attr-defined]
    settings = {"breakbulk.celery": "shop_for_include:app", "celery.task_default_queue": "bulk"}
    assert configure(settings).registry["breakbulk"].celery is celery
    assert celery.conf.task_default_queue == "bulk"
    other = Celery("another", set_as_current=False)
    assert configure({"breakbulk.celery": other}).registry["breakbulk"].celery is other


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("nowhere.celery:app", r"breakbulk\.celery = nowhere\.celery:app cannot be imported"),
        ("json", r"breakbulk\.celery = json is not a Celery application: name one"),
    ],
)
def test_a_celery_application_that_is_none(configure: Configure, name: str, sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        configure({"breakbulk.celery": name})


def test_a_setting_that_is_misspelt(configure: Configure) -> None:
    with pytest.raises(ConfigurationError, match=r"did you mean breakbulk\.slice_seconds\?"):
        configure({"breakbulk.slise_seconds": "2"})


def test_the_root_package_has_the_includeme() -> None:
    assert DottedNameResolver().resolve("breakbulk").includeme.__module__ == "breakbulk"
