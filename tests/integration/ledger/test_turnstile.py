"""SQLite's one writer: a fair queue, which lets go of those who die."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from breakbulk import RunStatus
from breakbulk.domain.finding import Severity
from breakbulk.errors import ConfigurationError
from breakbulk.ledger.turnstile import Turnstile
from tests.support.waiting import wait_for
from tests.support.yard import Yard, together, touch

if TYPE_CHECKING:
    from breakbulk import Chunk
    from tests.support.yard import Goods

_ROOT = Path(__file__).parents[3]
_HOLDER = """
import sys, threading
from breakbulk.ledger.turnstile import Turnstile

with Turnstile(sys.argv[1]).turn():
    print("mine", flush=True)
    sys.stdin.read()
print("let go", flush=True)
"""


def holder(path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(path)],
        cwd=_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "mine\n"
    return process


def try_in_thread(turnstile: Turnstile) -> threading.Event:
    """Ask for a turn; the event is set when it has come."""
    there = threading.Event()

    def ask() -> None:
        with turnstile.turn():
            there.set()

    threading.Thread(target=ask, daemon=True).start()
    return there


def test_one_at_a_time(tmp_path: Path) -> None:
    turnstile, inside, most = Turnstile(str(tmp_path / "db")), [0], [0]

    def go() -> None:
        for _ in range(50):
            with turnstile.turn():
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                inside[0] -= 1

    assert together(*[go] * 4) == [None] * 4
    assert most == [1]


def test_nobody_overtakes_who_waits_at_the_front(tmp_path: Path) -> None:
    path = tmp_path / "db"
    turnstile = Turnstile(str(path))
    with turnstile.turn():
        waiting = try_in_thread(turnstile)
        wait_for(lambda: is_locked(Path(f"{path}-next")), message="the other to wait")
        assert not waiting.is_set()
        # Now the door is shut behind him, also for the one inside who would like to come again.
        assert is_locked(Path(f"{path}-now"))
    assert waiting.wait(60)
    wait_for(lambda: not is_locked(Path(f"{path}-next")), message="the queue to be empty")


def is_locked(path: Path) -> bool:
    import fcntl

    descriptor = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)


def test_an_error_inside_lets_go(tmp_path: Path) -> None:
    turnstile = Turnstile(str(tmp_path / "db"))
    with pytest.raises(RuntimeError), turnstile.turn():
        raise RuntimeError
    assert try_in_thread(turnstile).wait(60)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_holder_that_is_killed_lets_go(tmp_path: Path, number: signal.Signals) -> None:
    path = tmp_path / "db"
    process = holder(path)
    waiting = try_in_thread(Turnstile(str(path)))
    assert not waiting.is_set()
    process.send_signal(number)
    process.communicate()
    assert waiting.wait(60)


def test_a_forked_child_does_not_keep_its_parents_turn(tmp_path: Path) -> None:
    turnstile = Turnstile(str(tmp_path / "db"))
    reader, writer = os.pipe()
    with turnstile.turn():
        child = os.fork()
        if child == 0:
            os.close(writer)
            os.read(reader, 1)  # lives on until the parent closes the other end
            os._exit(0)
    os.close(reader)
    try:
        assert try_in_thread(turnstile).wait(60)
    finally:
        os.close(writer)
        os.waitpid(child, 0)


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # Python 3.12, rightly
def test_a_fork_at_any_moment_keeps_no_turn(tmp_path: Path) -> None:
    """A worker replaces a dead child while its steward writes, and everybody waited for ever."""
    turnstile, stop = Turnstile(str(tmp_path / "db")), threading.Event()

    def come_and_go() -> None:
        while not stop.is_set():
            with turnstile.turn():
                pass

    thread = threading.Thread(target=come_and_go, daemon=True)
    thread.start()
    reader, writer = os.pipe()
    children: list[int] = []
    try:
        for _ in range(150):
            child = os.fork()
            if child == 0:
                os.close(writer)
                os.read(reader, 1)  # lives on until the parent closes the other end
                os._exit(0)
            children.append(child)
        stop.set()
        assert try_in_thread(turnstile).wait(60)
    finally:
        stop.set()
        os.close(writer)
        os.close(reader)
        for child in children:
            os.waitpid(child, 0)
        thread.join()


def test_who_has_the_turn_is_refused_a_second_one(tmp_path: Path) -> None:
    """He would wait for himself, and everybody else for him."""
    turnstile = Turnstile(str(tmp_path / "db"))
    refusals: list[ConfigurationError] = []

    def ask_again() -> None:
        with turnstile.turn():
            try:
                with turnstile.turn():
                    pass
            except ConfigurationError as error:
                refusals.append(error)

    thread = threading.Thread(target=ask_again, daemon=True)
    thread.start()
    thread.join(60)
    (refusal,) = refusals
    assert "pass session=chunk.session or session=run.session" in str(refusal)
    assert try_in_thread(turnstile).wait(60)


def test_a_job_that_submits_past_its_own_transaction_is_told(sqlite_url: str) -> None:
    yard = Yard(sqlite_url, rows=25)
    other = yard.job()

    def process(chunk: Chunk[Goods]) -> None:
        touch(chunk)
        yard.bulk.submit(other())

    handle = yard.submit(yard.job(process, max_retries=0, on_failure="skip"))
    # Daemonic, with a database of its own: if it is not told it hangs for ever.
    thread = threading.Thread(target=yard.settle, args=(handle,), daemon=True)
    thread.start()
    thread.join(60)
    assert handle.status() is RunStatus.PARTIAL
    assert {one.error for one in handle.failures()} == {"breakbulk.errors.ConfigurationError"}
    assert "pass session=chunk.session" in handle.failures()[0].message
    assert set(yard.versions().values()) == {0}
    assert len(yard.bulk.runs()) == 1
    yard.close()


def test_a_database_in_memory_needs_no_queue() -> None:
    with Turnstile(None).turn(), Turnstile(None).turn():
        pass


def test_two_names_of_one_file_are_one_queue(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    process = holder(tmp_path / "db")
    waiting = try_in_thread(Turnstile(str(tmp_path / "link" / ".." / tmp_path.name / "db")))
    assert not waiting.wait(0.05)
    process.communicate()
    assert waiting.wait(60)


def test_lanes_that_hold_the_writer_long_share_it(sqlite_url: str) -> None:
    """No "database is locked" for anybody, no rescue, no lost attempt."""
    yard = Yard(sqlite_url, rows=60)
    who: dict[int, int] = {}

    def process(chunk: Chunk[Goods]) -> None:
        who[threading.get_ident()] = who.get(threading.get_ident(), 0) + 1
        touch(chunk)
        chunk.session.flush()

    crews = [yard.crew(slots=3) for _ in range(3)]
    handle = yard.submit(yard.job(process, chunk_size=2))
    results = together(*(crew.work for crew in crews))
    assert not [one for one in results if isinstance(one, Exception)], results
    yard.settle(handle)
    yard.assert_proper(handle)
    assert handle.failures() == []
    assert all(chunk.losses == 0 and chunk.attempt == 1 for chunk in handle.chunks())
    yard.close()


def test_a_frozen_writer_is_named(sqlite_url: str) -> None:
    """Nobody can take the turn from it, so people have to know whom to wake or to end."""
    yard = Yard(sqlite_url, rows=5)
    handle = yard.submit(yard.job())
    assert handle.progress().waits == "no worker is running"
    child = os.fork()
    if child == 0:
        with yard.runtime.database.turn():
            os.kill(os.getpid(), signal.SIGSTOP)
        os._exit(0)
    os.waitpid(child, os.WUNTRACED)
    try:
        said = f"process {child}, which is stopped, holds SQLite's only writer"
        assert handle.progress().waits == said
        (finding,) = [one for one in yard.bulk.doctor() if str(child) in one.what]
        assert finding.severity is Severity.ERROR
        assert f"kill -CONT {child}" in finding.remedy
    finally:
        os.kill(child, signal.SIGCONT)
        os.waitpid(child, 0)
    assert handle.progress().waits == "no worker is running"
    yard.settle(handle)
    yard.assert_proper(handle)
    yard.close()
