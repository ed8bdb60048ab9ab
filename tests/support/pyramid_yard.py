"""A yard whose application is a Pyramid one, made as the SQLAlchemy cookiecutter makes it."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import zope.sqlalchemy
from pyramid.config import Configurator
from pyramid.response import Response
from sqlalchemy.orm import Session, sessionmaker
from webtest import TestApp

from tests.support.yard import Yard

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyramid.request import Request
    from sqlalchemy import Engine

    from tests.support.yard import Crew


class Policy:
    """Whoever a header says."""

    def identity(self, request: Request) -> str | None:
        user: str | None = request.headers.get("user")
        return user

    authenticated_userid = identity

    def permits(self, _request: Request, _context: Any, _permission: str) -> bool:
        return True


class PyramidYard(Yard):
    """A Pyramid application with its ledger on a database that has all tables.

    Args:
        engine: of the database.
        rows: goods with the keys 1 to that number.
        configure: what else the application does at its start.
        joined: request sessions belong to the request's transaction manager.
        policy: its security policy; default, whoever a header names may do everything.
        settings: more of the application's settings.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        rows: int = 0,
        configure: Callable[[Configurator], None] | None = None,
        joined: bool = True,
        policy: Any = Policy,
        settings: dict[str, Any] | None = None,
    ) -> None:
        self._shared = True
        self._config = Configurator(
            # In an .ini it comes before the models do.
            settings={
                "pyramid.includes": "breakbulk",
                "celery.broker_url": "memory://",
                "breakbulk.poll_seconds": "0",
                "tm.manager_hook": "pyramid_tm.explicit_manager",
                "retry.attempts": "3",
                **(settings or {}),
            }
        )
        self._crews: list[Crew] = []
        self._numbers = itertools.count()
        config = self._config
        config.include("pyramid_tm")
        config.include("pyramid_retry")
        if policy is not None:
            config.set_security_policy(policy())
        self.sessions = sessionmaker(engine)
        config.registry["dbsession_factory"] = self.sessions
        if "breakbulk.dbsession" not in config.get_settings():
            config.add_request_method(self._dbsession(joined=joined), "dbsession", reify=True)
        if configure is not None:
            configure(config)
        for number in range(5):
            config.add_route(f"view{number}", f"/{number}")
        self.app = config.make_wsgi_app()
        self.web = TestApp(self.app)
        self.bulk = self.app.registry["breakbulk"]
        assert self.bulk.celery is not None
        self.celery = self.bulk.celery
        self.add_goods(range(1, rows + 1))

    def _dbsession(self, *, joined: bool) -> Callable[[Any], Session]:
        def dbsession(request: Request) -> Session:
            session = self.sessions(info={"request": request})
            if joined:
                zope.sqlalchemy.register(session, transaction_manager=request.tm)
            return session

        return dbsession

    def serve(self, view: Callable[[Any], Any], number: int = 0, **predicates: Any) -> str:
        """Serve a view, which may return nothing; its path."""

        def answer(request: Request) -> Response:
            found = view(request)
            return found if isinstance(found, Response) else Response(str(found))

        self._config.add_view(answer, route_name=f"view{number}", **predicates)
        self._config.commit()
        return f"/{number}"
