"""Who outside is told of runs, how they are doing, and what was delivered."""

from __future__ import annotations

import json
from typing import Any

from pyramid.httpexceptions import HTTPSeeOther
from pyramid.request import Request
from pyramid.view import view_config

from breakbulk.web import protection
from breakbulk.web.access import OPERATE
from breakbulk.web.query import number_in

_PAGE = 50


@view_config(
    route_name="webhooks", request_method="GET", renderer="breakbulk.web:templates/webhooks.jinja2"
)
def webhooks(request: Request) -> dict[str, Any]:
    """The endpoints, and a page of deliveries: of one run or endpoint, if one is chosen."""
    run, endpoint = number_in(request, "run"), number_in(request, "endpoint")
    found = request.bulk.webhooks.deliveries(
        run=run, endpoint=endpoint, before=number_in(request, "before"), limit=_PAGE + 1
    )
    return {
        "endpoints": request.bulk.webhooks.endpoints(),
        "deliveries": found[:_PAGE],
        "run": run,
        "endpoint": endpoint,
        "following": found[_PAGE - 1].id if len(found) > _PAGE else None,
    }


@view_config(
    route_name="delivery", request_method="GET", renderer="breakbulk.web:templates/delivery.jinja2"
)
def delivery(request: Request) -> dict[str, Any]:
    """One delivery: what is sent, and every try."""
    log = request.bulk.webhooks.delivery(int(request.matchdict["delivery"]))
    payload = json.dumps(json.loads(log.payload), indent=2, ensure_ascii=False)
    return {"delivery": log.delivery, "payload": payload, "tries": log.tries}


@view_config(route_name="endpoint_verb", request_method="POST", permission=OPERATE)
def endpoint_verb(request: Request) -> HTTPSeeOther:
    """Switch an endpoint on or off."""
    protection.check(request)
    number = int(request.matchdict["endpoint"])
    if request.matchdict["verb"] == "enable":
        request.bulk.webhooks.enable(number)
    else:
        request.bulk.webhooks.disable(number, by=request.access.user)
    return HTTPSeeOther(request.route_path("webhooks"))


@view_config(route_name="replay", request_method="POST", permission=OPERATE)
def replay(request: Request) -> HTTPSeeOther:
    """Send an event once more."""
    protection.check(request)
    again = request.bulk.webhooks.replay(int(request.matchdict["delivery"]))
    return HTTPSeeOther(request.route_path("delivery", delivery=again.id))
