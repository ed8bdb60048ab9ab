"""What ``config.include("breakbulk")`` does."""

from __future__ import annotations

from functools import partial
from typing import Any

from pyramid.config import Configurator
from pyramid.events import ApplicationCreated
from pyramid.path import DottedNameResolver
from pyramid.registry import Registry
from sqlalchemy.orm import scoped_session, sessionmaker

from breakbulk.app import Breakbulk
from breakbulk.errors import ConfigurationError
from breakbulk.jobs import Registry as Jobs
from breakbulk.pyramid.celery import celery_of
from breakbulk.pyramid.context import Requests
from breakbulk.pyramid.events import JobPredicate, Subscribers
from breakbulk.pyramid.jobs import add_breakbulk_job
from breakbulk.pyramid.permissions import OPERATE, VIEW
from breakbulk.pyramid.request import RequestBreakbulk
from breakbulk.pyramid.sessions import refuse_registered
from breakbulk.pyramid.settings import read


def includeme(config: Configurator) -> None:
    """Give the application its Breakbulk, as ``registry["breakbulk"]`` and ``request.breakbulk``.

    Raises:
        ConfigurationError: a setting is unknown, of the wrong kind, or cannot work.
    """
    registry = config.registry
    ours, knobs = read(config.get_settings())
    registry["breakbulk.settings"] = ours
    registry["breakbulk"] = Breakbulk(
        partial(_database, registry, ours.database),
        celery=celery_of(config, ours.celery),
        schema=ours.schema,
        data=None if ours.data is None else partial(_resolved, ours.data),
        at_least_once=ours.at_least_once,
        context=Requests(registry, dbsession=ours.dbsession, base_url=ours.base_url),
        notify=Subscribers(registry),
        secret_key=ours.secret_key,
        jobs=Jobs(unbound=False),
        settings=knobs,
    )
    config.add_request_method(RequestBreakbulk, "breakbulk", reify=True)
    config.add_directive("add_breakbulk_job", add_breakbulk_job)
    config.add_subscriber_predicate("breakbulk_job", JobPredicate)
    config.add_permission(VIEW)
    config.add_permission(OPERATE)
    config.add_subscriber(_created, ApplicationCreated)


def _created(event: ApplicationCreated) -> None:
    """Find the databases as soon as they can be there: a mistake is told at start, not at work.

    And before a server forks, so that no child takes its parent's connections.
    """
    runtime = event.app.registry["breakbulk"].runtime
    for database in (runtime.database, runtime.data):
        database.engine  # noqa: B018  (resolves it)


def _database(registry: Registry, given: object) -> Any:
    """The application's database, asked for when it is needed: models may be included later."""
    if given is not None:
        return _resolved(given)
    factory = registry.get("dbsession_factory")
    if factory is None:
        raise ConfigurationError(
            "Breakbulk does not know the database: set breakbulk.database, or put a sessionmaker"
            ' into registry["dbsession_factory"], as the SQLAlchemy cookiecutter does.'
        )
    return refuse_registered(factory)


def _resolved(given: object) -> Any:
    found: Any = given
    try:
        if isinstance(given, str) and "://" not in given:
            found = DottedNameResolver().resolve(given)
    except (ImportError, ValueError) as error:
        raise ConfigurationError(
            f"There is no {given}, which a breakbulk setting names as the database: {error}."
        ) from error
    asks = callable(found) and not isinstance(found, (sessionmaker, scoped_session))
    return refuse_registered(found() if asks else found)
