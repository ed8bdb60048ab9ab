"""Pages: a cursor says where the next one begins, and nothing that a client should look into."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from urllib.parse import urlencode

from pyramid.httpexceptions import HTTPBadRequest
from pyramid.request import Request

from breakbulk.domain.chunk import HIGHEST_ID, is_path

T = TypeVar("T")


def limit_of(request: Request) -> int:
    """How many are wanted."""
    limit: int = request.openapi_validated.parameters.query["limit"]
    return limit


def number_of(request: Request) -> int | None:
    """The number in the cursor, if there is one."""
    place = place_of(request, "a number")
    return None if place is None else place[0]


def place_of(request: Request, kind: str) -> tuple[Any, ...] | None:
    """What the cursor holds.

    Args:
        kind: ``"a number"``, or ``"a chunk"``: number and path.

    Raises:
        HTTPBadRequest: it is not one of ours.
    """
    text = request.openapi_validated.parameters.query.get("cursor")
    if text is None:
        return None
    try:
        place = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, RecursionError):
        place = None
    types = [int] if kind == "a number" else [int, str]
    fits = isinstance(place, list) and [type(one) for one in place] == types
    if fits and 0 <= place[0] <= HIGHEST_ID and all(is_path(one) for one in place[1:]):
        return tuple(place)
    raise HTTPBadRequest("The cursor is none of this list: take it as the page before gave it.")


def page(
    request: Request,
    found: Sequence[T],
    limit: int,
    place: Callable[[T], tuple[int | str, ...]],
    shown: Callable[[T], dict[str, Any]],
) -> dict[str, Any]:
    """A page of a list, with the address of the next one.

    Args:
        found: one more than are wanted, where there are more.
        place: where the page after an item begins.
    """
    items, following = found[:limit], None
    if len(found) > limit:
        plain = json.dumps(place(items[-1]), separators=(",", ":")).encode()
        cursor = base64.urlsafe_b64encode(plain).decode().rstrip("=")
        others = [(name, text) for name, text in request.GET.items() if name != "cursor"]
        following = f"{request.path_url}?{urlencode([*others, ('cursor', cursor)])}"
        request.response.headers["Link"] = f'<{following}>; rel="next"'
    return {"items": [shown(one) for one in items], "next": following}
