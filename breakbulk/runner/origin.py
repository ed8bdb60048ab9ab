"""Where the rows of a run come from, as whoever works on it or looks at it needs to know.

A job is asked for its source when it is submitted. A run of items has them in the ledger by then,
and its job is never asked again: the iterable can be read only once.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from breakbulk.domain.run import Run
from breakbulk.errors import SourceChanged
from breakbulk.jobs import JobRun, JobSpec
from breakbulk.runner.keeping import reader_on
from breakbulk.runner.runtime import Runtime
from breakbulk.sources import Items, Source, StoredItems


def source_of(
    runtime: Runtime, spec: JobSpec, job: Any, run: Run, ledger: Connection | None = None
) -> Source[Any]:
    """The rows of a run that was submitted.

    Args:
        ledger: a connection to it, of a lane that works on them. Where they are in another
            database, and where nothing may be open while they are worked on, the items are read
            there; with none, on one from the pool.

    Raises:
        SourceError: the job gives none that can be walked.
        SourceChanged: it gives items now, and gave something else at submit.
    """
    if run.of_items:
        database = runtime.database
        # Where the rows are in another database, the items are beside the run all the same.
        apart = runtime.at_least_once or (ledger is not None and spec.options.keeps_results)
        reader = database.reading if ledger is None else reader_on(runtime, ledger)
        return StoredItems(database.schema.items, run.id, reader if apart else None)
    source = spec.source(job, JobRun(run.submitted_at, run.id))
    if isinstance(source, Items):
        raise SourceChanged(
            "source changed: it gives items here and gave rows at submit; deploy the same code"
            " everywhere and resume, or cancel and submit again"
        )
    return source
