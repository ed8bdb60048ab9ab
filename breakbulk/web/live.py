"""Looking again: pages that show what moves are asked for with the tag of what is shown.

htmx sends the tag that came with the last look; if nothing has changed the answer is 304, which
costs one statement.
"""

from __future__ import annotations

import hashlib

from pyramid.httpexceptions import HTTPNotModified
from pyramid.request import Request

_HEADER = "HX-PTag"


def is_fragment(request: Request) -> bool:
    """Whether htmx asks for the part that moves, rather than a browser for a page."""
    return bool(request.headers.get("HX-Request") == "true")


def unless_unchanged(request: Request, tag: str) -> None:
    """End here if the browser shows that already.

    Raises:
        HTTPNotModified: nothing has changed.
    """
    # What may be seen differs from user to user, and how it looks with what was chosen.
    known = hashlib.sha256(f"{tag} {request.access.user} {request.query_string}".encode())
    mark = known.hexdigest()[:16]
    if is_fragment(request) and request.headers.get(_HEADER) == mark:
        raise HTTPNotModified
    request.response.headers[_HEADER] = mark
    request.environ["breakbulk.tag"] = mark
