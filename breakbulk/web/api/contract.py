"""The OpenAPI document, and what checks requests and answers against it.

pyramid_openapi3 does the checking. It would find the operation of a request by the whole path,
which fails wherever the application is mounted under a path of somebody else's; so here the
operation is looked up by the route alone, which is also faster.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

import yaml
from jsonschema_path import SchemaPath
from openapi_core import V31ResponseValidator
from openapi_core.templating.datatypes import TemplateResult
from openapi_core.templating.paths.datatypes import PathOperationServer
from openapi_core.templating.paths.exceptions import OperationNotFound, PathNotFound
from openapi_core.unmarshalling.request import V31RequestUnmarshaller
from pyramid.config import Configurator

ROOT = "/api/v1"
JSON, PROBLEM = "application/json", "application/problem+json"
_PLACE = files("breakbulk.web.api") / "openapi.yaml"
_NAME = "pyramid_openapi3"


@cache
def text() -> str:
    """The document as it was written."""
    return _PLACE.read_text(encoding="utf-8")


@cache
def document() -> dict[str, Any]:
    """The OpenAPI document."""
    read: dict[str, Any] = yaml.safe_load(text())
    return read


def routes() -> list[str]:
    """The names of the document's routes."""
    return [item["x-pyramid-route-name"] for item in document()["paths"].values()]


def methods_of(pattern: str) -> list[str]:
    """The methods that a route of ours takes, HEAD among them where GET is."""
    item = document()["paths"].get(pattern.removeprefix(ROOT), {"get": None})
    found = {"get": ["GET", "HEAD"], "post": ["POST"]}
    return [word for method, words in found.items() if method in item for word in words]


@cache
def query_of(pattern: str, method: str) -> frozenset[str]:
    """The names that the query of a request to a route of ours may have."""
    item = document()["paths"].get(pattern.removeprefix(ROOT), {})
    given = item.get(method.lower(), {}).get("parameters", [])
    shared = document()["components"]["parameters"]
    resolved = (shared[one["$ref"].rpartition("/")[2]] if "$ref" in one else one for one in given)
    return frozenset(one["name"] for one in resolved if one["in"] == "query")


def includeme(config: Configurator) -> None:
    """Register the routes of the document, and have them checked."""
    config.include("pyramid_openapi3")
    # What its directive would put there, which also reads and judges the document once more for
    # each application (0.2 s), and serves it as if it were never mounted; a test judges ours.
    config.registry.settings |= {
        _NAME: {"spec": _spec(), "filepath": str(_PLACE), **_validators()},
        f"{_NAME}_apinames": [_NAME],
        f"{_NAME}.enable_endpoint_validation": False,
    }
    config.pyramid_openapi3_register_routes(route_prefix=ROOT)


@cache
def _spec() -> SchemaPath:
    return SchemaPath.from_dict(document())


@cache
def _validators() -> dict[str, Any]:
    how: Any = {
        "path_finder_cls": _ByRoute,
        "extra_media_type_deserializers": {PROBLEM: json.loads},
    }
    return {
        "request_validator": V31RequestUnmarshaller(_spec(), **how),
        "response_validator": V31ResponseValidator(_spec(), **how),
    }


class _ByRoute:
    """Finds the operation of a request by its route, wherever the application is mounted."""

    def __init__(self, spec: SchemaPath, base_url: str | None = None) -> None:  # noqa: ARG002
        self._paths = {
            f"{ROOT}{pattern}": (
                spec / "paths" / pattern,
                {method: spec / "paths" / pattern / method for method in item},
            )
            for pattern, item in document()["paths"].items()
        }

    def find(self, method: str, name: str) -> PathOperationServer:
        """The operation; ``name`` is where the application is mounted, and the route's pattern."""
        pattern = name[name.rfind(f"{ROOT}/") :]
        if pattern not in self._paths:
            raise PathNotFound(name)
        path, operations = self._paths[pattern]
        if method not in operations:
            raise OperationNotFound(name, method)
        return PathOperationServer(
            path, operations[method], None, TemplateResult(pattern, {}), TemplateResult("", {})
        )
