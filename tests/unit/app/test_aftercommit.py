"""A call after the commit: once, after the outermost one, and never after a rollback."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, create_engine, event, insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from breakbulk.app.aftercommit import after_commit

if TYPE_CHECKING:
    from collections.abc import Iterator

THINGS = Table("things", MetaData(), Column("id", Integer, primary_key=True))


@pytest.fixture
def session() -> Iterator[Session]:
    engine = create_engine("sqlite://")
    THINGS.create(engine)
    with Session(engine) as session:
        session.execute(insert(THINGS).values(id=1))
        yield session
    engine.dispose()


@pytest.fixture
def called() -> list[str]:
    return []


def later(session: Session, called: list[str], word: str = "now") -> None:
    after_commit(session, lambda _session: called.append(word))


def test_it_is_called_once_after_the_commit(session: Session, called: list[str]) -> None:
    later(session, called)
    assert called == []
    session.commit()
    session.execute(insert(THINGS).values(id=2))
    session.commit()
    assert called == ["now"]


def test_several_are_called_in_order(session: Session, called: list[str]) -> None:
    for word in ("one", "two", "three"):
        later(session, called, word)
    session.commit()
    assert called == ["one", "two", "three"]
    session.execute(insert(THINGS).values(id=2))  # the session goes on
    session.commit()


def test_not_after_a_rollback(session: Session, called: list[str]) -> None:
    later(session, called)
    session.rollback()
    session.execute(insert(THINGS).values(id=2))
    session.commit()
    assert called == []


def test_not_after_the_session_was_closed(session: Session, called: list[str]) -> None:
    later(session, called)
    session.close()
    session.execute(insert(THINGS).values(id=2))
    session.commit()
    assert called == []


def test_a_commit_that_fails_is_none(session: Session, called: list[str]) -> None:
    later(session, called)

    def refuse(_session: Session) -> None:
        raise RuntimeError

    event.listen(session, "before_commit", refuse)
    with pytest.raises(RuntimeError):
        session.commit()
    session.rollback()
    event.remove(session, "before_commit", refuse)
    session.execute(insert(THINGS).values(id=2))
    session.commit()
    assert called == []


def test_a_savepoint_is_no_commit(session: Session, called: list[str]) -> None:
    with session.begin_nested():
        later(session, called)
    assert called == []
    session.commit()
    assert called == ["now"]


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_not_after_a_savepoint_around_it_was_rolled_back(
    session: Session, called: list[str], depth: int
) -> None:
    outermost = session.begin_nested()
    for _ in range(depth - 1):
        session.begin_nested()
    later(session, called)
    outermost.rollback()
    session.commit()
    assert called == []


def test_a_savepoint_beside_it_does_not_matter(session: Session, called: list[str]) -> None:
    later(session, called, "before")
    beside = session.begin_nested()
    later(session, called, "within")
    beside.rollback()
    later(session, called, "after")
    with pytest.raises(IntegrityError), session.begin_nested():
        session.execute(insert(THINGS).values(id=1))
    session.commit()
    assert called == ["before", "after"]


def test_sessions_do_not_know_of_each_other(session: Session, called: list[str]) -> None:
    later(session, called)
    with Session(session.get_bind()) as other:
        other.execute(THINGS.select())
        other.commit()
    assert called == []
    session.commit()
    assert called == ["now"]
