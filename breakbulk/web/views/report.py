"""A run to take along."""

from __future__ import annotations

from pyramid.request import Request
from pyramid.response import Response
from pyramid.view import view_config

from breakbulk import RunHandle
from breakbulk.web.report import report


@view_config(route_name="report", request_method="GET")
def download(request: Request) -> Response:
    """Everything about a run as one file."""
    handle: RunHandle = request.bulk.run(int(request.matchdict["run"]))
    response = Response(report(request.bulk, handle), content_type="text/html", charset="utf-8")
    # Kept, not opened: here it would be a page of this site.
    response.content_disposition = f'attachment; filename="run-{handle.id}.html"'
    return response
