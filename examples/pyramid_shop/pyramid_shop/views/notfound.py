"""What is not there."""

from __future__ import annotations

from typing import Any

from pyramid.request import Request
from pyramid.view import notfound_view_config


@notfound_view_config(renderer="pyramid_shop:templates/404.jinja2")
def notfound(request: Request) -> dict[str, Any]:
    """Say so."""
    request.response.status = 404
    return {}
