"""A session for each request, as the SQLAlchemy cookiecutter has it."""

from __future__ import annotations

import zope.sqlalchemy
from pyramid.config import Configurator
from pyramid.request import Request
from sqlalchemy import create_engine
from sqlalchemy.orm import Session, sessionmaker

#: While the warehouse is filled, others wait.
_SQLITE_PATIENCE = 600


def includeme(config: Configurator) -> None:
    """Give each request a ``dbsession`` in its own transaction."""
    settings = config.get_settings()
    settings["tm.manager_hook"] = "pyramid_tm.explicit_manager"
    config.include("pyramid_tm")
    url = settings["sqlalchemy.url"]
    waits = {"timeout": _SQLITE_PATIENCE} if url.startswith("sqlite") else {}
    factory = sessionmaker(create_engine(url, pool_pre_ping=True, connect_args=waits))
    config.registry["dbsession_factory"] = factory

    def dbsession(request: Request) -> Session:
        session = factory(info={"request": request})
        zope.sqlalchemy.register(session, transaction_manager=request.tm)
        return session

    config.add_request_method(dbsession, reify=True)
