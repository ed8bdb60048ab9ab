"""What a look costs does not grow with what there is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sqlalchemy import event, text

from breakbulk.web.api.contract import ROOT, document
from tests.support import plans
from tests.support.machines import RUNS
from tests.support.yard import statements, wipe

if TYPE_CHECKING:
    from webtest import TestApp

    from breakbulk import RunHandle
    from tests.support.yard import Yard


#: What grows with rows. Runs do not: somebody has to start them.
_BIG = ("chunks", "failures", "quarantine", "activity", "tallies")


_MANY = 5_000


def make_much(yard: Yard) -> RunHandle:
    """A long run of which much has failed, after many others."""
    handle = plans.make_long_run(yard)
    schema = yard.ledger.database.schema
    numbers = (
        "WITH RECURSIVE numbers (n) AS"
        f" (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {_MANY})"
    )
    columns = [column.name for column in schema.runs.columns]
    ended = {"id": "n + 10", "status": "'succeeded'", "finished_at": "submitted_at", "slot": "NULL"}
    rows = "SELECT {} FROM " + schema.runs.fullname + ", numbers WHERE id = 1"
    told = "run_id, round, at, number, path, {}, error, message"
    failed = "1 + n % 2, 1, submitted_at, n, '', 1, 'Boom', 'boom'"
    with yard.engine.begin() as connection:
        for into, values in (
            (f"{schema.failures.fullname} ({told.format('attempt')})", failed),
            (
                f"{schema.quarantine.fullname} ({told.format('attempts')}, key)",
                failed + ", '[1]'",
            ),
            (
                f"{schema.tallies.fullname} (run_id, at, lane, chunks, rows)",
                "1 + n % 50, submitted_at, -1, 1, 1",
            ),
            (f"{schema.activity.fullname} (run_id, at, actor, verb)", "1, submitted_at, 'a', 'b'"),
            (
                f"{schema.runs.fullname} ({', '.join(columns)})",
                ", ".join(ended.get(name, name) for name in columns),
            ),
        ):
            connection.execute(text(f"INSERT INTO {into} {numbers} {rows.format(values)}"))
    with yard.engine.connect() as connection:
        options = connection.execution_options(isolation_level="AUTOCOMMIT")
        options.execute(text("ANALYZE"))
    # SQLite reads what was found when a connection is opened.
    yard.engine.dispose()
    return handle


#: Every look that the document has, and some that choose.
_LOOKS = [
    *(path for path, item in document()["paths"].items() if "get" in item),
    *("/runs?limit=100", "/runs?status=failed", "/runs/{run}/chunks?status=succeeded"),
    "/runs/{run}/chunks?status=failed&status=split",
]


def _address(path: str, run: RunHandle) -> str:
    return ROOT + path.format(run=run.id, job=quote(run.job), chunk=1)


def test_a_look_costs_the_same_however_much_there_is(yard: Yard, looker: TestApp) -> None:
    small = yard.run()
    looker.get(RUNS)
    few = {}
    for path in _LOOKS:
        with statements(yard.engine) as seen:
            looker.get(_address(path, small), status=200)
        few[path] = len(seen)
    wipe(yard.engine)
    looker.authorization = ("Bearer", yard.bulk.tokens.create("again").text)
    big = make_much(yard)
    looker.get(RUNS)
    for path in _LOOKS:
        asked: list[tuple[str, Any]] = []

        def note(_c: object, _cursor: object, statement: str, given: Any, *_: object) -> None:
            asked.append((statement, given))  # noqa: B023  (it is removed in the same round)

        event.listen(yard.engine, "before_cursor_execute", note)
        looker.get(_address(path, big), status=200)
        event.remove(yard.engine, "before_cursor_execute", note)
        # The small one has ended, and of that its summary is asked; of this one three things more.
        assert len(asked) <= few[path] + 3, path
        assert len(asked) <= 16, path
        for plan in plans.explained(yard, asked):
            for name in _BIG:
                assert f"Seq Scan on {name}" not in plan, (path, plan)
                assert f"SCAN breakbulk_{name}\n" not in f"{plan}\n", (path, plan)


def test_a_look_at_what_is_known_takes_four_statements(
    yard: Yard, looker: TestApp, partial: RunHandle
) -> None:
    """The token, the run, its tag; and what a connection is asked when it is taken."""
    url = f"{RUNS}/{partial.id}"
    mark = looker.get(url).headers["ETag"]
    with statements(yard.engine) as seen:
        looker.get(url, headers={"If-None-Match": mark}, status=304)
    assert len([one for one in seen if one.startswith("SELECT")]) == 3, seen
