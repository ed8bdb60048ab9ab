"""Rows in another database than the ledger: everything works, at least once."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import create_engine, delete, insert, select

from breakbulk import Items, RunStatus
from breakbulk.domain.verdict import Again, Hopeless, Kept
from breakbulk.errors import ParameterError
from breakbulk.ledger.chunks import Chunks
from breakbulk.ledger.runs import Runs
from breakbulk.runner.throttling import Throttling
from tests.support.yard import Base, Boom, Goods, Notice, Yard, tell, touch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Engine

    from breakbulk import Chunk, RunHandle
    from breakbulk.runner.keeping import ItemChunk, ResultsRun


class Elsewhere:
    """A yard whose goods are in a database of their own."""

    def __init__(self, ledger: Engine, rows: Engine) -> None:
        self.rows = rows
        Base.metadata.create_all(rows)
        with rows.begin() as connection:
            connection.execute(insert(Goods), [{"id": number} for number in range(1, 26)])
        self.yard = Yard(ledger, shared=True, data=rows, at_least_once=True)

    def versions(self) -> Counter[int]:
        """How many goods were processed how often."""
        with self.rows.connect() as connection:
            return Counter(connection.execute(select(Goods.version)).scalars())

    def notices(self) -> list[str]:
        """What the callbacks said."""
        with self.rows.connect() as connection:
            return list(connection.execute(select(Notice.words)).scalars())

    def assert_proper(self, handle: RunHandle) -> None:
        """The run succeeded and the ledger is in order, whatever was done twice."""
        assert handle.status() is RunStatus.SUCCEEDED, handle.record().reason
        audit = handle.audit()
        assert audit.clean, audit.findings
        assert audit.notes == ()
        assert self.yard.count("lanes") == self.yard.count("waiting") == 0
        assert not self.yard.versions(), "the ledger's database has no goods"


@pytest.fixture(params=["rows in SQLite", "rows in PostgreSQL"])
def elsewhere(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Elsewhere]:
    """The goods are not where the ledger is."""
    if request.param == "rows in SQLite":
        ledger = request.getfixturevalue("postgres_yard").engine
        url = f"sqlite:///{tmp_path / 'rows.sqlite'}"
    else:
        ledger = request.getfixturevalue("sqlite_yard").engine
        url = request.getfixturevalue("postgres_url")
    for table in (Goods, Notice):
        with ledger.begin() as connection:
            connection.execute(delete(table))
    rows = create_engine(url)
    made = Elsewhere(ledger, rows)
    yield made
    made.yard.close()
    rows.dispose()


def fails_once(monkeypatch: pytest.MonkeyPatch, kind: type[Any], method: str, which: int) -> None:
    """Let a method of the ledger raise at one of its calls, as a crash would at that moment."""
    right = getattr(kind, method)
    calls = [0]

    def once(*arguments: Any, **options: Any) -> Any:
        calls[0] += 1
        if calls[0] == which:
            raise Boom("between the two commits")
        return right(*arguments, **options)

    monkeypatch.setattr(kind, method, once)


def test_items_are_in_the_ledger_and_their_effects_elsewhere(elsewhere: Elsewhere) -> None:
    def process(chunk: Chunk[Any]) -> None:
        numbers = [item["id"] for item in chunk]
        assert [key for (key,) in chunk.row_keys] == numbers
        assert chunk.key_for(next(iter(chunk))).endswith(f"-[{numbers[0]}]")
        for number in numbers:
            chunk.session.get_one(Goods, number).version += 1

    handle = elsewhere.yard.run(process, source=lambda: Items({"id": n} for n in range(1, 26)))
    elsewhere.assert_proper(handle)
    assert elsewhere.versions() == {1: 25}
    assert elsewhere.notices() == ["succeeded 25"]


def test_a_run_and_its_callback(elsewhere: Elsewhere) -> None:
    handle = elsewhere.yard.run()
    elsewhere.assert_proper(handle)
    assert handle.record().at_least_once
    assert elsewhere.versions() == {1: 25}
    assert elsewhere.notices() == ["succeeded 25"]


def test_a_chunk_that_fails_is_rolled_back(elsewhere: Elsewhere) -> None:
    def process(chunk: Chunk[Goods]) -> None:
        touch(chunk)
        chunk.session.flush()
        if chunk.number == 2 and chunk.attempt == 1:
            raise Boom

    handle = elsewhere.yard.run(process)
    elsewhere.assert_proper(handle)
    assert elsewhere.versions() == {1: 25}
    assert len(handle.failures()) == 1


def test_nothing_is_called_done_that_is_not(elsewhere: Elsewhere) -> None:
    """The rows first, the mark second: the other way round a crash would lose a chunk."""
    seen: list[str] = []

    def process(chunk: Chunk[Goods]) -> None:
        (row,) = elsewhere.yard.rows_of("chunks", f"number = {chunk.number}")
        seen.append(row["status"])
        touch(chunk)

    elsewhere.assert_proper(elsewhere.yard.run(process))
    assert seen == ["carved"] * 3


def test_a_crash_between_the_commits_repeats_the_chunk(
    elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails_once(monkeypatch, Chunks, "mark_done", 2)
    handle = elsewhere.yard.run()
    elsewhere.assert_proper(handle)
    assert elsewhere.versions() == {1: 15, 2: 10}
    assert elsewhere.notices() == ["succeeded 25"]


def test_a_crash_between_the_commits_repeats_the_callback(
    elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle = elsewhere.yard.submit(elsewhere.yard.job(finished=tell))
    # The first move of this run is to finishing, the second one ends it.
    fails_once(monkeypatch, Runs, "move", 2)
    elsewhere.yard.settle(handle)
    elsewhere.assert_proper(handle)
    assert elsewhere.versions() == {1: 25}
    assert elsewhere.notices() == ["succeeded 25"] * 2


def test_a_row_that_fails_is_found_where_it_is(elsewhere: Elsewhere) -> None:
    def process(chunk: Chunk[Goods]) -> None:
        touch(chunk)
        if 7 in [row.id for row in chunk]:
            raise Boom

    handle = elsewhere.yard.run(process, max_retries=0)
    assert handle.status() is RunStatus.PARTIAL
    assert [row.key for row in handle.errors()] == ["[7]"]
    assert elsewhere.versions() == {0: 1, 1: 24}
    assert elsewhere.notices() == ["partial 24"]
    assert handle.audit().clean


# Jobs that keep results


def keeping(elsewhere: Elsewhere, process: Any, **options: Any) -> RunHandle:
    """Submit a job of two items that keeps results."""
    source = options.pop("source", lambda: Items([1, 2]))
    job = elsewhere.yard.job(process, source=source, keeps=True, **options)
    return elsewhere.yard.submit(job)


def test_results_are_kept_where_the_ledger_is(elsewhere: Elsewhere) -> None:
    yard = elsewhere.yard
    seen: list[Any] = []

    def process(chunk: ItemChunk) -> Kept:
        (item,) = chunk
        seen.append((item, chunk.attempt, chunk.kept_state))
        chunk.session.add(Notice(run=item, words="row"))
        if item == 2 and chunk.attempt < 3:
            raise Again(0, Boom(), state=json.dumps(chunk.attempt))
        return Kept(json.dumps(item), outgoing=("mail",))

    def finished(run: ResultsRun) -> None:
        seen.append(list(run.results(1, 100).items()))
        if run.attempt == 1:
            raise Again(0, Boom(), state="0")
        seen.append(run.kept_state)
        run.keep('"end"')
        tell(run)

    handle = keeping(elsewhere, process, finished=finished)
    yard.settle(handle)
    elsewhere.assert_proper(handle)
    assert seen == [
        (1, 1, None),
        (2, 1, None),
        (2, 2, "1"),
        (2, 3, "2"),
        [(1, "1"), (2, "2")],
        [(1, "1"), (2, "2")],
        "0",
    ]
    assert {row["number"]: row["value"] for row in yard.rows_of("results")} == {
        0: '"end"',
        1: "1",
        2: "2",
    }
    assert yard.count("deliveries") == 2
    assert elsewhere.notices() == ["row", "row", "succeeded 2"]


def test_a_crash_between_the_commits_keeps_no_result(
    elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of it is told of, and the item is done again."""
    fails_once(monkeypatch, Chunks, "tally", 1)
    monkeypatch.setattr("breakbulk.runner.attempt.Tally.due", lambda *_: True)
    yard = elsewhere.yard
    seen: list[int] = []

    def process(_chunk: ItemChunk) -> Kept:
        seen.append(yard.count("results") + yard.count("deliveries"))
        return Kept("1", outgoing=("mail",))

    handle = keeping(elsewhere, process, source=lambda: Items([1]))
    yard.settle(handle)
    elsewhere.assert_proper(handle)
    assert seen == [0, 0]
    assert (yard.count("results"), yard.count("deliveries")) == (1, 1)


def test_a_callback_reads_the_items_that_failed_one_by_one(elsewhere: Elsewhere) -> None:
    """Each look is a transaction of its own on the ledger's one connection."""
    yard = elsewhere.yard
    seen: list[tuple[Any, str, str]] = []

    def process(chunk: ItemChunk) -> Kept:
        if chunk.number == 2:
            raise Hopeless(Boom("two"))
        return Kept()

    def finished(run: ResultsRun) -> None:
        for number, error, message in run.failed_items(9):
            seen.append((run.item(number), error, message))
        tell(run)

    handle = keeping(elsewhere, process, finished=finished, on_failure="isolate")
    yard.settle(handle)
    assert handle.status() is RunStatus.PARTIAL
    assert seen == [(2, "tests.support.yard.Boom", "two")]


def test_it_holds_back_on_what_is_where_the_rows_are(elsewhere: Elsewhere) -> None:
    """Only there are goods, and an SQLite ledger does not keep PostgreSQL from being asked."""
    yard = elsewhere.yard
    check = "SELECT 'there are ' || count(*) || ' goods' FROM goods"
    handle = yard.submit(yard.job(throttle_on=check))
    yard.crew()
    with yard.runtime.database.connect_apart() as connection:
        Throttling(yard.runtime).look(connection)
    assert str(handle.progress().throttled).startswith("its check says: there are 25 goods; since ")
    if elsewhere.rows.dialect.name == "postgresql":
        handle.limit(max_lock_waits=100, throttle_on=None)
        with yard.runtime.database.connect_apart() as connection:
            Throttling(yard.runtime).look(connection)
        assert handle.progress().throttled is None
    else:
        with pytest.raises(ParameterError, match="max_lock_waits needs PostgreSQL"):
            handle.limit(max_lock_waits=100)
    handle.limit(throttle_on=None, max_lock_waits=None)
    yard.settle(handle)
    elsewhere.assert_proper(handle)
