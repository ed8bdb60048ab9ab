"""The shop: a Pyramid application with one button and one job, as any team might have it.

This package is all there is to it; everything else in the demo only sets the scene. It is made of
an ``.ini``, runs under Celery's own worker, ``celery -A breakbulk.demo.shop.celery worker --ini
demo.ini``, and ``breakbulk -A demo.ini runs`` looks at it while the demo goes on.
"""

from __future__ import annotations

from typing import Any

from pyramid.config import Configurator
from pyramid.router import Router

from breakbulk.demo.shop.jobs import ProcessWarehouse


def main(_global_config: dict[str, str], **settings: Any) -> Router:
    """Make the WSGI application."""
    with Configurator(settings=settings) as config:
        config.include("pyramid_jinja2")
        config.include("breakbulk.demo.shop.models")
        config.include("breakbulk.demo.shop.security")
        config.add_breakbulk_job(
            ProcessWarehouse,
            name="ProcessWarehouse",
            chunk_size=int(settings["shop.chunk_size"]),
            max_retries=5,
            retry_delay=5,
        )
        config.add_static_view("static", "breakbulk.demo.shop:static")
        config.add_route("home", "/")
        config.add_route("live", "/live")
        config.add_route("process", "/process")
        config.scan("breakbulk.demo.shop.views")
    return config.make_wsgi_app()
