"""The REST API: machines start, watch and steer runs.

``openapi.yaml`` is what it promises; requests and answers are checked against it. It lives in the
dashboard's application under ``/api/v1``.
"""

from __future__ import annotations

from pyramid.config import Configurator

from breakbulk.web.api import contract
from breakbulk.web.api.guard import handle, no_such_method


def includeme(config: Configurator) -> None:
    """Add it to the dashboard: ``config.include("breakbulk.web.api")``."""
    config.include(contract)
    config.add_request_method(handle, "handle", reify=True)
    config.add_tween(
        "breakbulk.web.api.guard.tween", over="pyramid_openapi3.tween.response_tween_factory"
    )
    for kind in ("json", "yaml"):
        config.add_route(f"api.openapi_{kind}", f"{contract.ROOT}/openapi.{kind}")
    config.scan("breakbulk.web.api")
    for route in (*contract.routes(), "api.openapi_json", "api.openapi_yaml"):
        config.add_view(no_such_method, route_name=route)
