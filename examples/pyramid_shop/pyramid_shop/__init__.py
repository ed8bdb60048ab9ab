"""A shop with warehouses so large that no request could process one."""

from __future__ import annotations

from typing import Any

from pyramid.config import Configurator
from pyramid.router import Router


def main(_global_config: dict[str, str], **settings: Any) -> Router:
    """Make the WSGI application."""
    with Configurator(settings=settings) as config:
        config.include("pyramid_jinja2")
        config.include("pyramid_shop.routes")
        config.include("pyramid_shop.models")
        config.include("pyramid_shop.security")
        config.scan()
    return config.make_wsgi_app()
