"""The figures for Prometheus, for whoever may look."""

from __future__ import annotations

from pyramid.httpexceptions import HTTPNotFound
from pyramid.request import Request
from pyramid.response import Response
from pyramid.view import view_config


@view_config(route_name="metrics", request_method="GET")
def metrics(request: Request) -> Response:
    """All of them."""
    try:
        from breakbulk import metrics as figures
    except ModuleNotFoundError as error:
        raise HTTPNotFound(
            f"There is no {error.name} here: pip install 'breakbulk[metrics]'."
        ) from error
    return Response(
        figures.exposition(request.bulk), headers={"Content-Type": figures.CONTENT_TYPE}
    )
