"""Where a demo happens: the ``.ini`` of its shop.

The demo, its workers and whoever looks on from another terminal are different processes. They
find database and broker in one file, because it may be readable by its owner alone, whereas
the command lines of processes, with the passwords in them, are there for everybody to see.
"""

from __future__ import annotations

import os
from pathlib import Path

_INI = """\
# The shop of a running demo. Look at it with: breakbulk -A {path} runs
[app:main]
use = call:breakbulk.demo.shop:main
pyramid.includes =
    breakbulk
    breakbulk.web

sqlalchemy.url = {database}
shop.chunk_size = {chunk_size}

breakbulk.web.title = Breakbulk demo
# A third of the default: nobody should have to wait long to see that the chunk of a killed worker
# is given to another one. All other settings are those of every installation.
breakbulk.lease_seconds = 5

celery.broker_url = {broker}
# Not Celery's own: on a shared broker somebody else's workers may listen there.
celery.task_default_queue = breakbulk-demo
# One message at a time for each worker, as breakbulk doctor recommends.
celery.worker_prefetch_multiplier = 1
# Neither is needed, and without them nothing but the queue is left on a shared broker.
celery.worker_enable_remote_control = false
celery.worker_send_task_events = false
celery.broker_connection_retry_on_startup = true
"""


def write(path: Path, *, database: str, broker: str, chunk_size: int) -> None:
    """Write the file, for its owner's eyes only.

    Args:
        database: SQLAlchemy URL, password included.
        broker: Celery's URL, password included.
        chunk_size: products in a chunk.
    """
    content = _INI.format(
        path=path,
        database=_escaped(database),
        broker=_escaped(broker),
        chunk_size=chunk_size,
    )
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(content)


def _escaped(value: str) -> str:
    return value.replace("%", "%%")
