"""The Celery application of a Pyramid application, on both sides.

In the web process it is made of the ``celery.*`` settings, or named by ``breakbulk.celery``. In a
worker it is the other way round: Celery's command line finds a Celery application, which loads the
Pyramid application from its ``.ini``. That is what :func:`celery_app` makes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import click
from celery import Celery, signals
from celery.loaders.base import BaseLoader
from pyramid.config import Configurator
from pyramid.paster import get_appsettings
from pyramid.path import DottedNameResolver

from breakbulk.app import Breakbulk
from breakbulk.errors import BreakbulkError, ConfigurationError
from breakbulk.pyramid.celery_settings import celery_settings

#: Names the ``.ini``; the same variable that names an application for the command line.
VARIABLE = "BREAKBULK_APP"
#: The Celery application of the worker that loads a Pyramid application just now.
_loading: ContextVar[Celery | None] = ContextVar("loading", default=None)


def celery_app(name: str) -> Celery:
    """A Celery application that loads its Pyramid application, for ``celery -A``.

    ``shop/celery.py`` has ``app = celery_app("shop")``, and a worker is started with
    ``celery -A shop.celery worker --ini production.ini``, or with the environment variable
    ``BREAKBULK_APP=production.ini``. Nothing is loaded when the module is imported, so that a scan
    may come across it.

    Args:
        name: what Celery calls it.
    """
    app = Celery(name, loader=PyramidLoader, set_as_current=False)
    _takes_ini(app)
    return app


def load_in_workers(app: Celery) -> None:
    """Have a Celery application that is there already load its Pyramid application in a worker.

    It keeps its own configuration, and takes ``--ini`` as one of :func:`celery_app` does. The
    Pyramid application names it, by ``breakbulk.celery``.

    Args:
        app: the application.
    """

    def load(**_: Any) -> None:
        _load_for(app)

    _takes_ini(app)
    signals.import_modules.connect(load, sender=app, weak=False)


def _takes_ini(app: Celery) -> None:
    app.user_options["preload"].add(
        click.Option(
            ["--ini"],
            metavar="FILE[#SECTION]",
            # Before options that ask for Celery's configuration.
            is_eager=True,
            callback=_ini_given,
            help=f"The Pyramid application's .ini.  [env: {VARIABLE}]",
        )
    )


def _ini_given(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    # In the environment, for processes that this one starts.
    if value is not None:
        os.environ[VARIABLE] = value
    return value


class PyramidLoader(BaseLoader):
    """Celery's way to its configuration and its tasks: by way of a Pyramid application."""

    def read_configuration(self, env: str = VARIABLE) -> dict[str, Any]:
        """The ``celery.*`` settings of the application."""
        from breakbulk.pyramid.ini import checked

        with _in_one_sentence():
            return celery_settings(get_appsettings(checked(os.environ.get(env))))

    def import_default_modules(self) -> list[Any]:
        """Load the Pyramid application, and whatever modules Celery was told to import."""
        _load_for(self.app)
        imported: list[Any] = super().import_default_modules()
        return imported


def _load_for(app: Celery) -> None:
    """Load the Pyramid application, unless this process has it already."""
    from breakbulk.pyramid.ini import load

    if _loading.get() is None and Breakbulk.of(app) is None:
        with _in_one_sentence(), loading(app):
            load(os.environ.get(VARIABLE))


@contextmanager
def _in_one_sentence() -> Iterator[None]:
    """Tell mistakes as they are: Celery would show its own traceback."""
    try:
        yield
    except BreakbulkError as error:
        raise click.ClickException(str(error)) from error


@contextmanager
def loading(celery: Celery) -> Iterator[None]:
    """While a Pyramid application is loaded on behalf of a worker's Celery application."""
    token = _loading.set(celery)
    try:
        yield
    finally:
        _loading.reset(token)


def celery_of(config: Configurator, given: object) -> Celery:
    """The Celery application that a Pyramid application works with.

    Args:
        given: one, or its dotted name; None: that of the worker which loads the application, else
            a new one.

    Raises:
        ConfigurationError: it is none, or not the worker's.
    """
    settings = celery_settings(config.get_settings())
    workers = _loading.get()
    if given is None:
        celery = workers or Celery(config.registry.package_name, set_as_current=False)
    else:
        celery = _named(given)
        if workers is not None and celery is not workers:
            raise ConfigurationError(
                f"The worker was started with another Celery application ({workers.main}) than"
                f" breakbulk.celery = {given} names: start it with celery -A {given}."
            )
    if isinstance(celery.loader, PyramidLoader):
        if workers is None:
            celery.config_from_object(settings)
    elif settings:
        celery.conf.update(settings)
    return celery


def _named(given: object) -> Celery:
    try:
        found = DottedNameResolver().maybe_resolve(given)
    except (ImportError, ValueError) as error:
        raise ConfigurationError(
            f"breakbulk.celery = {given} cannot be imported: {error}."
        ) from error
    if not isinstance(found, Celery):
        raise ConfigurationError(
            f"breakbulk.celery = {given} is not a Celery application: name one, as in"
            " shop.celery:app, or leave it out."
        )
    return found
