"""A prepared request around each chunk and callback, so that code for requests works there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from pyramid.interfaces import IRequestFactory
from pyramid.registry import Registry
from pyramid.request import Request
from pyramid.scripting import prepare

from breakbulk.errors import TransactionMisuse
from breakbulk.pyramid.request import submitting
from breakbulk.runner.chunk import SubmittedRun
from breakbulk.runner.context import Handed


class Requests:
    """The context of a Pyramid application's jobs.

    Each chunk and callback gets a request of its own, with the application's request extensions
    and root, and with the threadlocals set for as long as it lasts. Its session is the chunk's.

    Args:
        registry: the application's.
        dbsession: the attribute of requests that holds their session.
        base_url: what the URLs begin with that are made there.
    """

    def __init__(self, registry: Registry, *, dbsession: str, base_url: str) -> None:
        self._registry = registry
        self._dbsession = dbsession
        self._base_url = base_url

    @contextmanager
    def __call__(self, handed: Handed, /) -> Iterator[Request]:
        """Give the request; whoever submits in a request has one already."""
        present = submitting(handed.session) if isinstance(handed, SubmittedRun) else None
        if present is not None:
            yield present
            return
        factory = self._registry.queryUtility(IRequestFactory, default=Request)
        request = factory.blank("/", base_url=self._base_url)
        # Before anything of the application sees it: its root factory may want to ask something.
        setattr(request, self._dbsession, handed.session)
        request.tm = NoTransactionManager()
        with prepare(request=request, registry=self._registry):
            yield request


class NoTransactionManager:
    """What ``request.tm`` is in a chunk or callback.

    There is no transaction manager: the transaction is Breakbulk's. It may be handed about, as
    services do that take it in case they need it; whoever uses it is told. An idle manager instead
    would drop without a sound what is joined to it, such as mail.
    """

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            # Questions of Python's, not of the application's.
            raise AttributeError(name)
        raise _misuse()

    def __enter__(self) -> NoReturn:
        raise _misuse()

    def __exit__(self, *_error: object) -> None: ...


def _misuse() -> TransactionMisuse:
    return TransactionMisuse(
        "request.tm was used in a chunk or callback, whose transaction Breakbulk commits: use"
        " request.dbsession.begin_nested() for a part that may fail, and let nothing else depend"
        " on the commit.",
        deliberate=True,
    )
