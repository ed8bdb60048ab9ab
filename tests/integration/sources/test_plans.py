"""A walk goes along the index, and reads no more of it than it needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import (
    Boolean,
    Column,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    event,
    insert,
    select,
    text,
)

from breakbulk.sources import table_source
from breakbulk.sources import walk as walking

if TYPE_CHECKING:
    from breakbulk.domain.chunk import Cut
    from breakbulk.sources import TableSource

goods = Table(
    "goods",
    MetaData(),
    Column("shelf", String, primary_key=True),
    Column("place", Integer, primary_key=True),
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("active", Boolean, nullable=False),
)


def fill(engine: Engine, rows: int, matches: range) -> None:
    goods.create(engine)
    with engine.begin() as connection:
        connection.execute(
            insert(goods),
            [
                {"shelf": f"s{n // 1000:03}", "place": n // 10, "id": n, "active": n in matches}
                for n in range(rows)
            ],
        )
        connection.execute(text("ANALYZE"))


def plans(engine: Engine, source: TableSource, **terms: Any) -> list[str]:
    """Execute a walk, and ask for the plan of each of its statements."""
    executed: list[tuple[str, Any]] = []
    with engine.connect() as connection:
        until = source.until(connection)

        @event.listens_for(connection, "before_cursor_execute")
        def _note(_c: Any, _u: Any, statement: str, given: Any, *_: Any) -> None:
            executed.append((statement, given))

        source.walk(connection, scout=None, until=until or (), **terms)
        explain = "EXPLAIN" if engine.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN"
        return [
            "\n".join(
                str(row) for row in connection.exec_driver_sql(f"{explain} {statement}", given)
            )
            for statement, given in list(executed)
        ]


@pytest.mark.parametrize("filtered", [False, True])
@pytest.mark.parametrize("after", [None, ("s002", 250, 2500)])
def test_each_statement_uses_the_index(
    engine: Engine, after: tuple[Any, ...] | None, filtered: bool
) -> None:
    fill(engine, 6_000, range(0, 6_000, 2))
    statement = select(goods)
    if filtered:
        statement = statement.where(goods.c.active)

    found = plans(engine, table_source(statement), after=after, chunk_size=20, chunks=3)

    assert found
    for plan in found:
        assert "Seq Scan" not in plan
        assert "Index" in plan or "INDEX" in plan


def test_rare_matches_are_found_by_reading_the_rest_once(
    postgres_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walking, "FIRST_WINDOW", 10)
    monkeypatch.setattr(walking, "LARGEST_WINDOW", 500)
    fill(postgres_engine, 6_000, range(500, 6_000, 600))
    source = table_source(select(goods).where(goods.c.active))
    texts: list[str] = []
    event.listen(postgres_engine, "before_cursor_execute", lambda *given: texts.append(given[2]))
    cuts: list[Cut] = []
    with postgres_engine.connect() as connection:
        until = source.until(connection)
        assert until is not None
        after, scout = None, None
        while True:
            walk = source.walk(
                connection, after=after, scout=scout, until=until, chunk_size=4, chunks=1
            )
            scout = walk.scout
            if not walk.cuts:
                assert scout is not None
                continue
            cuts += walk.cuts
            after = cuts[-1].bounds.upto
            if walk.reached_end:
                break
        found = [key[2] for cut in cuts for key in source.keys(connection, cut.bounds)]

    assert [cut.rows for cut in cuts] == [4, 4, 2]
    assert found == list(range(500, 6_000, 600))
    assert len([statement for statement in texts if "MATERIALIZED" in statement]) == 1
