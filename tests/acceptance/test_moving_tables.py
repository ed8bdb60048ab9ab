"""Tables that grow, shrink and change under a run: what is promised, row by row.

A row that was there at submit and still matches is processed once. A row that comes later is
processed if its key lies in a range not yet carved, and not otherwise. What the test knows for
certain it checks strictly: how far carving had come before and after each change of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from sqlalchemy import bindparam, delete, insert, select, update

from breakbulk.domain.keys import decode_key
from tests.support.warehouse import Parcel, Product

if TYPE_CHECKING:
    import random

    from breakbulk import RunHandle
    from tests.support.stage import Stage
    from tests.support.stages import Stages

_ROWS = 1000
_CHUNK = 20


class _Traffic:
    """Changes to a table while a run goes on, and what each must lead to."""

    def __init__(self, stage: Stage, run: RunHandle, model: type[Any], new_key: Any) -> None:
        self.stage, self.run, self.model, self.new_key = stage, run, model, new_key
        self.expected: dict[Any, set[int]] = {}
        with stage.engine.connect() as connection:
            self.until = connection.execute(
                select(model.id).order_by(model.id.desc()).limit(1)
            ).scalar_one()
            self.old = list(connection.execute(select(model.id)).scalars())

    def insert(self) -> None:
        """Insert one row anywhere."""
        key, before = self.new_key(), self._carved()
        self._execute(insert(self.model).values(id=key, name="new", version=0))
        after = self._carved()
        if key > self.until:
            self.expected[key] = {0}
        else:
            self.expected[key] = self._outcome(key, before, after, comes=True)

    def withdraw(self, key: Any) -> None:
        """Let one row no longer match."""
        before = self._carved()
        self._execute(update(self.model).where(self.model.id == key).values(active=False))
        self.expected[key] = self._outcome(key, before, self._carved(), comes=False)

    def delete(self, key: Any) -> None:
        """Delete one row."""
        self._execute(delete(self.model).where(self.model.id == key))
        self.expected[key] = set()

    def rename(self, key: Any) -> None:
        """Change one row in another column."""
        self._execute(update(self.model).where(self.model.id == key).values(name="renamed"))

    def check(self) -> None:
        """Compare each row with what it had to become."""
        with self.stage.engine.connect() as connection:
            rows = connection.execute(select(self.model.id, self.model.version))
            found = {row.id: row.version for row in rows}
        wrong = {
            key: (found.get(key), expected)
            for key, expected in self.expected.items()
            if (found[key] not in expected if key in found else expected)
        }
        assert not wrong, f"rows by what they are and had to be: {wrong}"
        untouched = {found[key] for key in self.old if key not in self.expected}
        assert untouched == {1}
        assert set(found.values()) <= {0, 1}

    def _outcome(self, key: Any, before: Any, after: Any, *, comes: bool) -> set[int]:
        """The versions that a row may end with which comes, or goes, between two looks."""
        (_, done), (frontier, _) = before, after
        if any(low is None or key > low for low, high in done if key <= high):
            return {0} if comes else {1}
        if frontier is None or key > frontier:
            return {1} if comes else {0}
        return {0, 1}

    def _carved(self) -> tuple[Any, list[tuple[Any, Any]]]:
        """The frontier, and the ranges whose chunks have committed."""
        chunks = self.stage.bulk.runtime.database.schema.chunks
        query = select(chunks.c.after, chunks.c.upto, chunks.c.status).where(
            chunks.c.run_id == bindparam("run")
        )
        with self.stage.engine.connect() as connection:
            rows = connection.execute(query, {"run": self.run.id}).all()
        frontier = max((_key(row.upto) for row in rows), default=None)
        return frontier, [
            (None if row.after is None else _key(row.after), _key(row.upto))
            for row in rows
            if row.status == "succeeded"
        ]

    def _execute(self, statement: Any) -> None:
        with self.stage.engine.begin() as connection:
            connection.execute(statement)


def _key(encoded: str) -> Any:
    return decode_key(encoded)[0]


@pytest.mark.parametrize(
    ("database", "kind"),
    [
        ("postgres", "int"),
        ("postgres", "uuid"),
        ("sqlite", "int"),
        pytest.param("sqlite", "uuid", marks=pytest.mark.thorough),
    ],
)
def test_a_table_that_lives(
    request: pytest.FixtureRequest,
    valkey_url: str,
    set_stage: Stages,
    seed: random.Random,
    database: str,
    kind: str,
) -> None:
    stage = set_stage(
        request.getfixturevalue(f"{database}_url"),
        valkey_url,
        job={"chunk_size": _CHUNK, "retry_delay": 0},
    )
    model: type[Any] = Product if kind == "int" else Parcel

    between = seed.sample(range(5, _ROWS * 120, 10), _ROWS)

    def new_key() -> Any:
        if kind == "uuid":
            return UUID(int=seed.getrandbits(128))
        # Between the others, and beyond them; never the same twice.
        return between.pop()

    keys = [n * 100 if kind == "int" else new_key() for n in range(_ROWS)]
    stage.insert(model, ({"id": key, "name": "old"} for key in keys))
    job = stage.application.count if kind == "int" else stage.application.count_parcels
    run = stage.bulk.submit(job(seconds=0.1 if database == "postgres" else 0.05))
    traffic = _Traffic(stage, run, model, new_key)
    seed.shuffle(keys)
    # Nobody works on it before everything is ready: however slow this process is, it is not late.
    stage.worker()
    while len(keys) > 3 and run.record().finished_at is None:
        traffic.insert()
        traffic.delete(keys.pop())
        traffic.withdraw(keys.pop())
        traffic.rename(keys.pop())
    stage.until_succeeded(run)
    traffic.check()
    stage.judge_ledger(run)
    assert len(traffic.expected) >= 3, "something went on meanwhile"
