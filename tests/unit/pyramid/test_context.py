"""The prepared request around a chunk: extensions, root, threadlocals, session, and no manager."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from pyramid.request import Request
from pyramid.threadlocal import get_current_registry, get_current_request

from breakbulk.errors import TransactionMisuse
from breakbulk.pyramid.context import NoTransactionManager

if TYPE_CHECKING:
    from tests.unit.pyramid.conftest import Configure


def handed(session: Any = "the chunk's session") -> Any:
    return SimpleNamespace(session=session)


def test_code_finds_what_a_request_has(configure: Configure) -> None:
    seen: list[Any] = []

    def dbsession(_request: Request) -> str:
        return "a session of the application's own"

    def root(request: Request) -> str:
        seen.append(request.dbsession)
        return "the root"

    config = configure({"breakbulk.base_url": "https://shop.example/eu"})
    config.include("pyramid_tm")
    config.set_root_factory(root)
    config.add_request_method(dbsession, reify=True)
    config.add_request_method(lambda request: f"for {request.dbsession}", "service")
    config.add_route("product", "/products/{id}")
    app = config.make_wsgi_app()
    context = app.registry["breakbulk"].runtime.context
    with context(handed()) as request:
        assert get_current_request() is request
        assert get_current_registry() is app.registry
        assert request.dbsession == "the chunk's session"
        assert request.service() == "for the chunk's session"
        assert request.context == "the root"
        assert request.route_url("product", id=5) == "https://shop.example/eu/products/5"
        assert request.authenticated_userid is None
        assert isinstance(request.tm, NoTransactionManager)
        assert request.breakbulk.bulk is app.registry["breakbulk"]
        request.add_finished_callback(lambda _request: seen.append("finished"))
    assert seen == ["the chunk's session", "finished"]
    assert get_current_request() is None


def test_each_chunk_has_its_own_and_the_outer_one_comes_back(configure: Configure) -> None:
    context = configure().make_wsgi_app().registry["breakbulk"].runtime.context
    with context(handed("outer")) as outer:
        with context(handed("inner")) as inner:
            assert get_current_request() is inner
            assert inner is not outer
        assert get_current_request() is outer
    assert get_current_request() is None


def test_the_session_goes_by_the_applications_own_name(configure: Configure) -> None:
    app = configure({"breakbulk.dbsession": "db"}).make_wsgi_app()
    with app.registry["breakbulk"].runtime.context(handed()) as request:
        assert request.db == "the chunk's session"
        assert not hasattr(request, "dbsession")


def test_the_applications_own_kind_of_request(configure: Configure) -> None:
    class Shopping(Request):  # type: ignore[misc]
        basket = ()

    config = configure()
    config.set_request_factory(Shopping)
    app = config.make_wsgi_app()
    with app.registry["breakbulk"].runtime.context(handed()) as request:
        assert request.basket == ()


@pytest.mark.parametrize("use", ["begin", "commit", "abort", "get", "savepoint", "doom"])
def test_whoever_uses_the_transaction_manager_is_told(use: str) -> None:
    manager: Any = NoTransactionManager()
    with pytest.raises(TransactionMisuse, match=r"whose transaction Breakbulk commits") as told:
        getattr(manager, use)()
    assert told.value.deliberate, "every chunk would do so: the run is held"


def test_it_may_be_handed_about() -> None:
    manager: Any = NoTransactionManager()
    with pytest.raises(TransactionMisuse), manager:
        pass
    assert not hasattr(manager, "__conform__")
    assert repr(manager)
