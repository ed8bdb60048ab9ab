"""The document itself, with the address at which it was asked for."""

from __future__ import annotations

import json
from typing import Any

from pyramid.request import Request
from pyramid.response import Response
from pyramid.view import view_config

from breakbulk.web.access import VIEW
from breakbulk.web.api.contract import ROOT, document, text


@view_config(route_name="api.openapi_json", request_method="GET", renderer="json", permission=VIEW)
def as_json(request: Request) -> dict[str, Any]:
    """For programs."""
    return document() | {"servers": [{"url": _root(request)}]}


@view_config(route_name="api.openapi_yaml", request_method="GET", permission=VIEW)
def as_yaml(request: Request) -> Response:
    """For people."""
    here = text().replace(f"- url: {ROOT}\n", f"- url: {json.dumps(_root(request))}\n")
    return Response(here, content_type="application/yaml", charset="utf-8")


def _root(request: Request) -> str:
    return f"{request.script_name}{ROOT}"
