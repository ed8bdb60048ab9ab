"""Static files under names that change with their content, so that browsers may keep them.

Everything is in the package: nothing is loaded from elsewhere, and nothing has to be built.
``VENDOR.toml`` says where what is not ours comes from; a test compares the hashes.
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files
from mimetypes import guess_type

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPNotFound
from pyramid.request import Request
from pyramid.response import Response
from pyramid.security import NO_PERMISSION_REQUIRED

_DIGITS = 12
_A_YEAR = 365 * 86_400
_FILES = (
    "vendor/pico-2.1.1.min.css",
    "vendor/htmx-4.0.1.min.js",
    "vendor/uplot-1.6.32.min.js",
    "vendor/uplot-1.6.32.min.css",
    "breakbulk.css",
    "breakbulk.js",
    "icon.svg",
)


@cache
def content(name: str) -> bytes:
    """The bytes of a static file."""
    return files("breakbulk.web").joinpath("static", name).read_bytes()


@cache
def digest(name: str) -> str:
    """What a file's URL changes with."""
    return hashlib.sha256(content(name)).hexdigest()[:_DIGITS]


def url(request: Request, name: str) -> str:
    """Where a browser gets a file."""
    found: str = request.route_path("asset", digest=digest(name), name=name)
    return found


def serve(request: Request) -> Response:
    """Send a file: one of our own, by its present digest."""
    name = request.matchdict["name"]
    if name not in _FILES or request.matchdict["digest"] != digest(name):
        raise HTTPNotFound("There is no such file.")
    kind = guess_type(name)[0] or "application/octet-stream"
    response = Response(body=content(name), content_type=kind)
    if kind.startswith("text/"):
        response.charset = "utf-8"
    response.cache_control = f"public, max-age={_A_YEAR}, immutable"
    return response


def includeme(config: Configurator) -> None:
    """Add the route and its view."""
    config.add_route("asset", "/static/{digest}/{name:.+}")
    config.add_view(
        serve, route_name="asset", request_method="GET", permission=NO_PERMISSION_REQUIRED
    )
