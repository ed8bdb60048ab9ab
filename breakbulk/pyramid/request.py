"""``request.breakbulk``: Breakbulk in the hands of a view."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from datetime import datetime
from typing import Any, Literal

from pyramid.request import Request
from sqlalchemy.orm import Session, scoped_session

from breakbulk.app import Breakbulk, RunHandle
from breakbulk.broker import Links
from breakbulk.domain.run import Run
from breakbulk.domain.status import RunStatus
from breakbulk.errors import ConfigurationError
from breakbulk.pyramid.permissions import OPERATE, VIEW, may
from breakbulk.pyramid.sessions import mark_changed

#: The request that submits just now, and its session: for whoever is told of the run.
_submitting: ContextVar[tuple[Request, Session] | None] = ContextVar("submitting", default=None)


class RequestBreakbulk:
    """Breakbulk in one request; ``request.breakbulk``.

    Nothing here asks for a permission: the view that calls it has its own.
    """

    def __init__(self, request: Request) -> None:
        self._request = request

    @property
    def bulk(self) -> Breakbulk:
        """The application's ``Breakbulk``; ``request.registry["breakbulk"]``."""
        bulk: Breakbulk = self._request.registry["breakbulk"]
        return bulk

    def submit(
        self,
        job: Any,
        *,
        queue: str | None = None,
        idempotency_key: str | None = None,
        overlap: str = "refuse",
        submitted_by: str | None = None,
        link: Links = None,
        link_error: Links = None,
        countdown: float | None = None,
        eta: datetime | None = None,
        finish_by: datetime | float | None = None,
        chunk_size: int | Literal["auto"] | None = None,
        chunk_seconds: float | None = None,
    ) -> RunHandle:
        """Start a run of a job, as part of the request's own transaction: no commit, no run.

        Lanes are asked for after the commit, behind the request's back: a broker that is down
        delays nothing and loses nothing.

        Args:
            job: an instance of a declared job, which is its parameters.
            queue: the Celery queue, instead of the job's.
            idempotency_key: a second submit with the same key returns the first run.
            overlap: when a run of the same job and parameters still goes on: ``"refuse"``,
                ``"wait"`` for it to end, or ``"allow"`` both.
            submitted_by: shown to operators; default who the request comes from.
            link: a Celery signature, or several, to be sent when the run has succeeded.
            link_error: the same for a run that ends in any other way.
            countdown: start it so many seconds later.
            eta: start it then: a time with its zone. One that has passed means now.
            finish_by: when it should have ended: a time with its zone, or so many seconds from now.
            chunk_size: rows in a chunk instead of the job's, or ``"auto"``: as many as take
                ``chunk_seconds``.
            chunk_seconds: what a chunk is to take that sizes itself.

        Raises:
            UnknownJob, ParameterError, SourceError, OverlapError, IdempotencyConflict,
            SchemaError, LedgerUnreachable: nothing was written.
        """
        session = self._session()
        own: Session = session() if isinstance(session, scoped_session) else session
        with _submits(self._request, own):
            handle = self.bulk.submit(
                job,
                session=own,
                queue=queue,
                idempotency_key=idempotency_key,
                overlap=overlap,
                submitted_by=submitted_by or self._user(),
                link=link,
                link_error=link_error,
                countdown=countdown,
                eta=eta,
                finish_by=finish_by,
                chunk_size=chunk_size,
                chunk_seconds=chunk_seconds,
            )
        if handle.created:
            mark_changed(own)
        return self._in_hand(handle)

    def run(self, run_id: int) -> RunHandle:
        """A run by its number, as committed: one that this request submits is not there yet.

        What is done with it (pause, cancel, retry) is done at once, on a connection of its own,
        and stays done if the request's transaction is aborted.

        Raises:
            RunNotFound: there is none.
        """
        return self._in_hand(self.bulk.run(run_id))

    def runs(
        self,
        *,
        job: str | None = None,
        statuses: Iterable[RunStatus] | None = None,
        before: int | None = None,
        limit: int = 50,
    ) -> list[Run]:
        """Runs, newest first; the next page is asked for with the last one's id as ``before``."""
        return self.bulk.runs(job=job, statuses=statuses, before=before, limit=limit)

    def url(self, run_id: int | None = None) -> str:
        """Where a run's page in the dashboard is, or its overview.

        Raises:
            ConfigurationError: the dashboard is not part of the application.
        """
        dashboard: Callable[[Request, str], str] | None = self._request.registry.get(
            "breakbulk.url"
        )
        if dashboard is None:
            raise ConfigurationError(
                "This application has no dashboard to link to: include breakbulk.web."
            )
        return dashboard(self._request, "/" if run_id is None else f"/runs/{run_id}")

    @property
    def may_view(self) -> bool:
        """Whether the host's security policy grants ``breakbulk.view``; without one, nobody."""
        return may(self._request, VIEW)

    @property
    def may_operate(self) -> bool:
        """Whether the host's security policy grants ``breakbulk.operate``; without one, nobody."""
        return may(self._request, OPERATE)

    def _session(self) -> Session | scoped_session[Any]:
        name = self._request.registry["breakbulk.settings"].dbsession
        session = getattr(self._request, name, None)
        if not isinstance(session, (Session, scoped_session)):
            raise ConfigurationError(
                f"request.{name} is no SQLAlchemy session: say by breakbulk.dbsession which"
                " attribute of a request holds one."
            )
        return session

    def _in_hand(self, handle: RunHandle) -> RunHandle:
        # No request waits for a broker, and what is done is done by whoever has asked.
        return replace(handle, nudge=self.bulk.nudges.later, actor=self._user())

    def _user(self) -> str | None:
        user = self._request.authenticated_userid
        return None if user is None else str(user)


@contextmanager
def _submits(request: Request, session: Session) -> Iterator[None]:
    token = _submitting.set((request, session))
    try:
        yield
    finally:
        _submitting.reset(token)


def submitting(session: Session) -> Request | None:
    """The request that submits a run in a session just now, if one does."""
    found = _submitting.get()
    return found[0] if found is not None and found[1] is session else None
