"""``config.include("breakbulk.web")``: what it asks of the application that it is part of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pyramid.config import Configurator, global_registries
from pyramid.request import Request, apply_request_extensions
from sqlalchemy import create_engine
from sqlalchemy.orm import sessionmaker
from webtest import TestApp

from breakbulk.errors import ConfigurationError

if TYPE_CHECKING:
    from pyramid.router import Router

pytestmark = pytest.mark.usefixtures("unbound")


def made(includes: str, **settings: str) -> Router:
    given = {"pyramid.includes": includes, "celery.broker_url": "memory://", **settings}
    config = Configurator(settings=given)
    config.registry["dbsession_factory"] = sessionmaker(create_engine("sqlite://"))
    return config.make_wsgi_app()


@pytest.mark.parametrize("includes", ["breakbulk breakbulk.web", "breakbulk.web breakbulk"])
def test_the_order_does_not_matter(includes: str) -> None:
    page = TestApp(made(includes)).get("/breakbulk/", status=403)
    assert "lets nobody in, because this application has no security policy" in page


def test_without_a_breakbulk_there_is_nothing_to_show() -> None:
    with pytest.raises(ConfigurationError, match=r"include breakbulk beside breakbulk\.web"):
        made("breakbulk.web")


def test_a_setting_that_is_misspelt_is_refused_at_the_start() -> None:
    with pytest.raises(ConfigurationError, match=r"did you mean breakbulk\.web\.path\?"):
        made("breakbulk breakbulk.web", **{"breakbulk.web.pth": "/x"})


def test_a_shell_finds_the_host_also_when_pages_are_made() -> None:
    app = made("breakbulk breakbulk.web")
    TestApp(app).get("/breakbulk/", status=403)
    assert global_registries.last is app.registry


def request_of(app: Any, **options: Any) -> Request:
    request = Request.blank("/", **options)
    request.registry = app.registry
    apply_request_extensions(request)
    return request


def test_links_to_its_pages() -> None:
    app = made("breakbulk.web breakbulk", **{"breakbulk.web.path": "/ops/bulk"})
    request = request_of(app, base_url="https://shop.example/prefix")
    assert request.breakbulk.url() == "https://shop.example/prefix/ops/bulk/"
    assert request.breakbulk.url(7) == "https://shop.example/prefix/ops/bulk/runs/7"


def test_there_is_no_link_to_what_is_not_there() -> None:
    with pytest.raises(ConfigurationError, match=r"include breakbulk\.web"):
        request_of(made("breakbulk")).breakbulk.url(7)
