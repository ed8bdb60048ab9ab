"""The shop's one page, the button on it, and how far a run is."""

from __future__ import annotations

from typing import Any

from pyramid.httpexceptions import HTTPNotFound, HTTPSeeOther
from pyramid.request import Request
from pyramid.view import view_config
from sqlalchemy import func, select

from breakbulk.domain.status import ACTIVE
from breakbulk.errors import OverlapError, RunNotFound
from breakbulk.pyramid import OPERATE, VIEW
from pyramid_shop.jobs import ProcessWarehouse
from pyramid_shop.models import Notice, Product, Warehouse
from pyramid_shop.pricing import shown

_NOTICES = 5


@view_config(route_name="home", renderer="pyramid_shop:templates/home.jinja2")
@view_config(route_name="live", renderer="pyramid_shop:templates/live.jinja2")
def home(request: Request) -> dict[str, Any]:
    """Every warehouse, how far its run is, and what was last told of them."""
    runs = request.breakbulk.runs(job="process-warehouse", statuses=ACTIVE)
    going = {run.parameters["warehouse"]: run for run in runs}
    progress = request.breakbulk.bulk.progress_of(runs)
    products = select(func.count()).where(Product.warehouse_id == Warehouse.id)
    rows = request.dbsession.execute(
        select(Warehouse, products.scalar_subquery()).order_by(Warehouse.id)
    )
    warehouses = [
        {
            "warehouse": warehouse,
            "products": count,
            "worth": shown(request, warehouse.worth(request.dbsession)),
            "run": going.get(warehouse.id),
        }
        for warehouse, count in rows
    ]
    notices = select(Notice).order_by(Notice.id.desc()).limit(_NOTICES)
    return {
        "warehouses": warehouses,
        "progress": progress,
        "notices": request.dbsession.scalars(notices).all(),
        "moving": bool(runs),
    }


@view_config(route_name="process", request_method="POST", permission=OPERATE)
def process(request: Request) -> HTTPSeeOther:
    """Process the whole warehouse."""
    warehouse = request.dbsession.get(Warehouse, int(request.matchdict["id"]))
    if warehouse is None:
        raise HTTPNotFound
    try:
        # Part of this request's transaction: if it does not commit, there is no run.
        run_id = request.breakbulk.submit(ProcessWarehouse(warehouse=warehouse.id)).id
    except OverlapError as error:
        # Somebody has pressed the button already. This is that run.
        run_id = error.run_id
    return HTTPSeeOther(request.route_url("home"), headers={"X-Run": str(run_id)})


@view_config(route_name="run", renderer="json", permission=VIEW)
def run(request: Request) -> dict[str, Any]:
    """How far a run is."""
    try:
        found = request.breakbulk.run(int(request.matchdict["id"]))
    except RunNotFound:
        raise HTTPNotFound from None
    progress: dict[str, Any] = found.progress().as_dict()
    return progress
