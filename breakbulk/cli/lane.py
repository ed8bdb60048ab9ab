"""``breakbulk lane``: one lane without a broker, started by a worker's steward."""

from __future__ import annotations

import logging
import os

import click

from breakbulk.cli.application import Application
from breakbulk.errors import ConfigurationError


@click.command(hidden=True)
@click.option("--queue", required=True)
@click.pass_obj
def lane(application: Application, queue: str) -> None:
    """Work for one slice as a lane of the worker that started this process."""
    if "BREAKBULK_WORKER_ID" not in os.environ:
        raise ConfigurationError(
            "A lane belongs to a worker, which starts it itself when there is no broker:"
            " start a worker with celery -A … worker."
        )
    # Its own affairs are nobody's business here.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # What it has to say goes into the worker's log.
    logging.basicConfig(level=logging.INFO, format="[%(asctime)s: %(levelname)s] %(message)s")
    application.bulk.work_here(queue)
