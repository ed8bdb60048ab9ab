"""A run that cannot be right stands still with its reason, and goes on when it is right again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select, update

from breakbulk import RunStatus
from breakbulk.errors import KeyChanged, StateError
from tests.support.yard import Boom, Goods, Yard

if TYPE_CHECKING:
    from breakbulk import Chunk


def test_a_job_that_changes_its_key_is_held(yard: Yard) -> None:
    def process(chunk: Chunk[Goods]) -> None:
        for row in chunk:
            row.version += 1
            row.id += 1000

    handle = yard.run(process)
    record = handle.record()
    assert record.status is RunStatus.HELD
    assert "process() changes goods.id, by which the rows are walked" in str(record.reason)
    assert str(record.reason)[-1] != ".", "it is put into other sentences"
    assert set(yard.versions()) == set(range(1, 26))
    assert set(yard.versions().values()) == {0}
    assert handle.failures() == []
    assert handle.cancel() is RunStatus.CANCELLED
    with pytest.raises(StateError):
        handle.resume()


def test_a_key_that_is_changed_by_a_statement_is_held_too(yard: Yard) -> None:
    def process(chunk: Chunk[Goods]) -> None:
        chunk.session.execute(update(Goods).where(chunk.where).values(id=Goods.id + 1000))

    handle = yard.run(process)
    assert handle.status() is RunStatus.HELD
    assert set(yard.versions()) == set(range(1, 26))


def test_a_changed_key_counts_although_the_error_is_swallowed(yard: Yard) -> None:
    def process(chunk: Chunk[Goods]) -> None:
        try:
            for row in chunk:
                row.version += 1
                row.id += 1000
            chunk.session.flush()
        except KeyChanged:
            pass

    handle = yard.run(process, max_retries=0)
    assert handle.status() in {RunStatus.HELD, RunStatus.PARTIAL}
    assert set(yard.versions()) == set(range(1, 26))
    assert set(yard.versions().values()) == {0}


def test_another_source_than_at_submit_is_held_and_goes_on_when_it_is_right_again(
    yard: Yard,
) -> None:
    statements = [select(Goods)]
    handle = yard.submit(yard.job(source=lambda: statements[-1]))
    statements.append(select(Goods).where(Goods.version == 0))
    yard.settle(handle)
    record = handle.record()
    assert record.status is RunStatus.HELD
    assert str(record.reason).startswith("source changed:")
    assert set(yard.versions().values()) == {0}
    statements.pop()
    assert handle.resume() is RunStatus.RUNNING
    yard.settle(handle)
    yard.assert_proper(handle)


def test_a_source_that_raises_is_held_with_what_it_raised(yard: Yard) -> None:
    broken: list[Boom] = []

    def source() -> Any:
        if broken:
            raise broken[0]
        return select(Goods)

    handle = yard.submit(yard.job(source=source))
    broken.append(Boom("no table of prices today"))
    yard.settle(handle)
    assert handle.status() is RunStatus.HELD
    assert "no table of prices today" in str(handle.record().reason)
    broken.clear()
    handle.resume()
    yard.settle(handle)
    yard.assert_proper(handle)


def test_a_job_that_cannot_be_built_any_more_is_held(yard: Yard) -> None:
    handle = yard.submit(job := yard.job())

    def broken(_self: object, **_: object) -> None:
        raise Boom("new code, new rules")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job, "__init__", broken)
        yard.settle(handle)
    assert handle.status() is RunStatus.HELD
    assert "new code, new rules" in str(handle.record().reason)
    handle.resume()
    yard.settle(handle)
    yard.assert_proper(handle)


def test_parameters_that_the_code_does_not_know_any_more_are_held(yard: Yard) -> None:
    handle = yard.submit(yard.job())
    runs = yard.ledger.database.schema.runs
    with yard.transaction() as connection:
        connection.execute(update(runs).values(parameters='{"gone": 1}'))
    yard.settle(handle)
    assert handle.status() is RunStatus.HELD
    assert "has no parameter 'gone'" in str(handle.record().reason)


def test_of_errors_that_take_turns_each_holds_the_run_once(yard: Yard) -> None:
    """Whoever resumes it as it is has been told of both, and is taken at his word."""
    errors: list[Exception] = [Boom("no stock")]

    def process(_chunk: Chunk[Goods]) -> None:
        raise errors[0]

    handle = yard.run(process, chunk_size=1, max_retries=0, on_failure="skip", tolerate="100%")
    assert handle.status() is RunStatus.HELD
    for error in (ValueError("no price"), Boom("no stock")):
        errors[0] = error
        handle.resume()
        yard.settle(handle)
        assert handle.status() is (
            RunStatus.HELD if isinstance(error, ValueError) else RunStatus.PARTIAL
        )
    assert len([one for one in handle.activity() if one.verb == "held"]) == 2
