"""Iterables that end early, and producers that are heard from no more."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import update

from breakbulk.runner.earlyend import gone
from tests.support.yard import Yard

if TYPE_CHECKING:
    from collections.abc import Iterator

    from breakbulk import RunHandle
    from breakbulk.ledger.loads import Load
    from breakbulk.runner.runtime import Runtime


_LONG_AGO = datetime.now(UTC) - timedelta(hours=1)


class Dead(BaseException):
    """What ends a producer that cannot say a word any more."""


def dies(yard: Yard, job: type[Any], monkeypatch: pytest.MonkeyPatch, **options: Any) -> RunHandle:
    """Submit a job whose producer dies on its way, as if its process had been killed."""
    with monkeypatch.context() as patch:
        patch.setattr("breakbulk.runner.load.end_early", lambda *_: True)
        with pytest.raises(Dead):
            yard.submit(job, **options)
    return yard.bulk.run(yard.bulk.runs()[0].id)


def silent(yard: Yard) -> None:
    """Let the leases of all producers run out, their processes be gone, and the leader be old."""
    loads, workers = yard.ledger.database.schema.loads, yard.ledger.database.schema.workers
    with yard.engine.begin() as connection:
        connection.execute(update(loads).values(lease_until=_LONG_AGO, pid=0))
        connection.execute(update(workers).values(healthy_since=_LONG_AGO))


def heard_from_after_all(yard: Yard, patch: pytest.MonkeyPatch, where: str) -> None:
    """Let a producer that was found silent extend its lease before anybody acts upon that."""

    def found_gone(runtime: Runtime, found: Load) -> bool:
        is_gone = gone(runtime, found)
        if is_gone and found.producer is not None:
            with yard.transaction() as connection:
                token = found.producer.token
                assert yard.ledger.loads.extend(connection, found.run_id, token, 60.0)
        return is_gone

    patch.setattr(f"{where}.gone", found_gone)


def up_to(end: int, then: BaseException | None = None) -> Iterator[int]:
    """Numbers from 0, and after them an error."""
    yield from range(end)
    if then is not None:
        raise then
