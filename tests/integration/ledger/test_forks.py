"""Children that are forked while their parent has SQLite open."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from breakbulk.ledger import Database
from tests.support.yard import Yard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Python 3.12, rightly: that is what this is about.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


@pytest.fixture
def database(sqlite_url: str) -> Iterator[Database]:
    yard = Yard(sqlite_url)
    yield yard.runtime.database
    yard.close()


def in_child(deed: Callable[[], bool]) -> bool:
    """What a forked child makes of it; False, too, when it takes ten seconds."""
    child = os.fork()
    if child == 0:
        signal.alarm(10)
        try:
            os._exit(0 if deed() else 1)
        finally:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def write(database: Database) -> bool:
    with database.transaction() as connection:
        connection.exec_driver_sql("SELECT 1")
    return True


def locks(database: Database) -> bool:
    """Whether this process itself has a lock on the database while it reads."""
    inode = str(Path(str(database.engine.url.database)).stat().st_ino)
    with database.reading() as connection:
        connection.exec_driver_sql("SELECT count(*) FROM sqlite_master")
        held = [line.split() for line in Path("/proc/locks").read_text("ascii").splitlines()]
    return any(
        words[4] == str(os.getpid()) and words[5].rpartition(":")[2] == inode for words in held
    )


def test_a_child_that_is_forked_beside_a_steward_can_write(database: Database) -> None:
    """It found the writer's place taken by a thread that it does not have, and waited for ever."""
    stop = threading.Event()

    def keep_house() -> None:
        with database.connect_apart() as connection:
            while not stop.is_set():
                with database.transaction(connection):
                    connection.exec_driver_sql("SELECT 1")

    thread = threading.Thread(target=keep_house, daemon=True)
    thread.start()
    try:
        assert all(in_child(lambda: write(database)) for _ in range(30))
    finally:
        stop.set()
        thread.join(60)
    assert not thread.is_alive()


def test_a_child_takes_locks_of_its_own(database: Database) -> None:
    """It believed that it had what its parent has, and others threw away what it had written."""
    assert write(database), "the parent has it open in its pool from now on"
    assert locks(database), "so it is with whoever is not forked"
    assert in_child(lambda: locks(database))


def test_nobody_waits_for_his_turn_with_the_file_open(database: Database) -> None:
    """Or a worker could not replace a dead child as long as another is at its chunk."""
    waiting, done = threading.Event(), threading.Event()

    def keep_house() -> None:
        with database.connect_apart() as connection:
            waiting.set()
            with database.transaction(connection):
                done.set()

    thread = threading.Thread(target=keep_house, daemon=True)
    with database.turn():
        thread.start()
        assert waiting.wait(60)
        assert in_child(lambda: locks(database))
        assert not done.is_set()
    thread.join(60)
    assert done.is_set()
