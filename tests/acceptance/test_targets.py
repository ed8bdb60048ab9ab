"""``database=`` in every form, and engines of the team with an isolation level of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.stages import Stages

_ROWS = 1000


@pytest.mark.parametrize(
    ("database", "target", "isolation_level"),
    [
        ("postgres", "engine", "SERIALIZABLE"),
        ("postgres", "sessionmaker", "REPEATABLE READ"),
        ("postgres", "callable", None),
        ("sqlite", "sessionmaker", None),
    ],
)
def test_a_database_in_every_form(
    request: pytest.FixtureRequest,
    valkey_url: str,
    set_stage: Stages,
    database: str,
    target: str,
    isolation_level: str | None,
) -> None:
    stage = set_stage(
        request.getfixturevalue(f"{database}_url"),
        valkey_url,
        target=target,
        engine={} if isolation_level is None else {"isolation_level": isolation_level},
        job={"chunk_size": 20, "retry_delay": 0},
    )
    stage.fill(_ROWS)
    stage.worker()
    run = stage.submit()
    stage.until_succeeded(run)
    stage.judge(run, rows=_ROWS)
    assert not stage.attempts(run)
