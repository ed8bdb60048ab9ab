"""The context that user code is called in: around each call, never in the way of the outcome."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from sqlalchemy import create_engine

from breakbulk import RunStatus
from tests.support.yard import Base, Boom, Goods, Yard, tell, touch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Engine

    from breakbulk import Chunk, FinishedRun

_surroundings: ContextVar[str] = ContextVar("surroundings", default="nothing")


@contextmanager
def surroundings(handed: Any) -> Iterator[str]:
    name = f"around {type(handed).__name__}"
    token = _surroundings.set(name)
    try:
        yield name
    finally:
        _surroundings.reset(token)


def yard_with(engine: Engine, **options: Any) -> Yard:
    return Yard(engine, rows=25, shared=True, **options)


def test_code_is_called_in_it_and_handed_what_it_gives(clean_engine: Engine) -> None:
    yard = yard_with(clean_engine, context=surroundings)
    seen: list[tuple[str, Any]] = []

    def process(chunk: Chunk[Goods]) -> None:
        touch(chunk)
        seen.append((_surroundings.get(), chunk.request))

    def finished(run: FinishedRun) -> None:
        tell(run)
        seen.append((_surroundings.get(), run.request))

    handle = yard.run(process, finished=finished)
    yard.assert_proper(handle)
    assert seen == [("around Chunk", "around Chunk")] * 3 + [("around FinishedRun",) * 2]
    assert _surroundings.get() == "nothing"
    yard.close()


def test_without_one_there_is_no_request(clean_engine: Engine) -> None:
    yard = yard_with(clean_engine)
    seen: list[Any] = []

    def process(chunk: Chunk[Goods]) -> None:
        touch(chunk)
        seen.append(chunk.request)

    yard.assert_proper(yard.run(process))
    assert seen == [None] * 3
    yard.close()


def test_it_is_left_when_all_is_committed(clean_engine: Engine) -> None:
    seen: list[int] = []

    @contextmanager
    def looks_on_leaving(_handed: Any) -> Iterator[None]:
        yield
        seen.append(sum(yard.versions().values()))

    yard = yard_with(clean_engine, context=looks_on_leaving)
    yard.assert_proper(yard.run())
    assert seen == [10, 20, 25, 25]
    yard.close()


def test_one_that_cannot_be_entered_is_a_failed_attempt(clean_engine: Engine) -> None:
    tries: list[str] = []

    @contextmanager
    def reluctant(handed: Any) -> Iterator[None]:
        tries.append(type(handed).__name__)
        if tries.count(tries[-1]) == 1:
            raise Boom("not yet")
        yield

    yard = yard_with(clean_engine, context=reluctant)
    handle = yard.run()
    yard.assert_proper(handle)
    assert [one.message for one in handle.failures()] == ["not yet"] * 2
    yard.close()


def test_one_that_cannot_be_left_changes_nothing(clean_engine: Engine, caplog: Any) -> None:
    @contextmanager
    def sticky(_handed: Any) -> Iterator[None]:
        yield
        raise Boom("stuck")

    yard = yard_with(clean_engine, context=sticky)
    handle = yard.run()
    yard.assert_proper(handle)
    assert handle.failures() == []
    assert caplog.text.count("could not be left in order") == 4
    yard.close()


def test_one_that_swallows_errors_hides_none(clean_engine: Engine) -> None:
    told: list[str] = []

    class Swallows:
        def __init__(self, _handed: Any) -> None:
            pass

        def __enter__(self) -> None:
            pass

        def __exit__(self, _kind: object, error: object, _traceback: object) -> bool:
            told.append(repr(error))
            return True

    def process(chunk: Chunk[Goods]) -> None:
        touch(chunk)
        if chunk.number == 2 and chunk.attempt == 1:
            raise Boom("hear me")

    yard = yard_with(clean_engine, context=Swallows)
    handle = yard.run(process)
    yard.assert_proper(handle)
    assert [one.message for one in handle.failures()] == ["hear me"]
    assert told.count("Boom('hear me')") == 1
    yard.close()


def test_one_that_raises_on_the_way_out_of_a_failure_does_not_hide_it(
    clean_engine: Engine,
) -> None:
    @contextmanager
    def clumsy(_handed: Any) -> Iterator[None]:
        try:
            yield
        except Boom:
            raise ValueError("of its own") from None

    def process(chunk: Chunk[Goods]) -> None:
        touch(chunk)
        if chunk.attempt == 1 and chunk.number == 1:
            raise Boom("the cause")

    yard = yard_with(clean_engine, context=clumsy)
    handle = yard.run(process)
    yard.assert_proper(handle)
    assert [one.message for one in handle.failures()] == ["the cause"]
    yard.close()


def test_of_a_chunk_in_a_second_database(clean_engine: Engine, tmp_path: Path) -> None:
    data = create_engine(f"sqlite:///{tmp_path / 'rows.sqlite'}")
    Base.metadata.create_all(data)
    yard = yard_with(clean_engine, context=surroundings, data=data, at_least_once=True)
    with data.begin() as connection:
        connection.execute(Base.metadata.tables["goods"].insert(), [{"id": 1}, {"id": 2}])
    seen: list[Any] = []

    def process(chunk: Chunk[Goods]) -> None:
        touch(chunk)
        seen.append((_surroundings.get(), chunk.request))

    handle = yard.run(process)
    assert handle.status() is RunStatus.SUCCEEDED
    assert seen == [("around Chunk", "around Chunk")]
    yard.close()
    data.dispose()
