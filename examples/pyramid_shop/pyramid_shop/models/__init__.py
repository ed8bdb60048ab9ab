"""The shop's tables, and a session for each request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import zope.sqlalchemy
from pyramid.config import Configurator
from pyramid.request import Request
from sqlalchemy import Engine, engine_from_config
from sqlalchemy.orm import Session, configure_mappers, sessionmaker
from transaction import TransactionManager

from pyramid_shop.models.user import User
from pyramid_shop.models.warehouse import Notice, Product, Warehouse

__all__ = [
    "Notice",
    "Product",
    "User",
    "Warehouse",
    "get_engine",
    "get_session_factory",
    "get_tm_session",
]

configure_mappers()


def get_engine(settings: Mapping[str, Any], prefix: str = "sqlalchemy.") -> Engine:
    """The engine that the settings describe."""
    return engine_from_config(dict(settings), prefix)


def get_session_factory(engine: Engine) -> sessionmaker[Session]:
    """What makes sessions: those of requests here, those of chunks for Breakbulk."""
    return sessionmaker(bind=engine)


def get_tm_session(
    session_factory: sessionmaker[Session],
    transaction_manager: TransactionManager,
    request: Request | None = None,
) -> Session:
    """A session that a transaction manager commits or aborts."""
    session = session_factory(info={"request": request})
    # Each session is registered, and not the factory: what it makes for a chunk is committed by
    # Breakbulk.
    zope.sqlalchemy.register(session, transaction_manager=transaction_manager)
    return session


def includeme(config: Configurator) -> None:
    """Give each request a ``dbsession`` in its own transaction."""
    settings = config.get_settings()
    settings["tm.manager_hook"] = "pyramid_tm.explicit_manager"
    config.include("pyramid_tm")
    config.include("pyramid_retry")
    # Tests bring their own.
    engine = settings.get("dbengine") or get_engine(settings)
    session_factory = get_session_factory(engine)
    config.registry["dbsession_factory"] = session_factory

    def dbsession(request: Request) -> Session:
        given: Session | None = request.environ.get("app.dbsession")
        if given is not None:
            return given
        return get_tm_session(session_factory, request.tm, request=request)

    config.add_request_method(dbsession, reify=True)
