"""The SQL that gives exactly a chunk's rows, for whoever wants to look at them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Select, literal_column, select

from breakbulk.domain.chunk import Bounds
from breakbulk.domain.run import Run
from breakbulk.runner.origin import source_of
from breakbulk.runner.runtime import Runtime


def query_of(runtime: Runtime, run: Run, bounds: Bounds) -> str | None:
    """A SELECT to be pasted into a database client; None where this process cannot write one.

    It cannot where the job's code is not here, its source is not a ``select()``, or a secret is
    among its parameters and might stand in the statement.
    """
    spec = runtime.jobs.all().get(run.job)
    if spec is None or any(parameter.masked for parameter in spec.parameters.values()):
        return None
    try:
        source = source_of(runtime, spec, runtime.build(spec, run), run)
        statement: Select[Any] = select(literal_column("*")).where(source.condition(bounds))
        compiled = statement.compile(
            dialect=runtime.data.engine.dialect, compile_kwargs={"literal_binds": True}
        )
    except Exception:  # noqa: BLE001  (the job's own source() may raise anything)
        return None
    return f"{compiled};"
