"""What follows from a run: each in the transaction that ends it, so it is done once."""

from __future__ import annotations

from pyramid.events import subscriber
from sqlalchemy import func

from breakbulk.pyramid import RunFinished, RunSucceeded
from pyramid_shop.jobs import ProcessWarehouse
from pyramid_shop.models import Notice, Warehouse
from pyramid_shop.pricing import shown


@subscriber(RunSucceeded, breakbulk_job=ProcessWarehouse)
def mark_processed(event: RunSucceeded) -> None:
    """The whole warehouse is processed."""
    warehouse = event.session.get_one(Warehouse, event.run.parameters["warehouse"])
    warehouse.processed_at = func.now()
    warehouse.times_processed += 1


@subscriber(RunFinished, breakbulk_job=ProcessWarehouse)
def tell_the_shopkeeper(event: RunFinished) -> None:
    """Leave a notice, however it ended."""
    request, run = event.request, event.run
    warehouse = request.dbsession.get_one(Warehouse, run.parameters["warehouse"])
    worth = shown(request, warehouse.worth(request.dbsession))
    text = f"{warehouse.name}: {run.status}, {run.summary.rows_done} products, worth {worth}"
    request.dbsession.add(Notice(run=run.id, text=text, url=request.breakbulk.url(run.id)))
