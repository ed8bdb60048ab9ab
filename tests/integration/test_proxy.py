"""The proxy that faults of the network are made with: does it do what it says?"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from kombu import Connection as Broker
from sqlalchemy import Engine, NullPool, create_engine, text
from sqlalchemy.exc import OperationalError

from tests.support.proxy import Fate, Proxy
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

_BLIND = "UPDATE counts SET n = n + 1"


@pytest.fixture
def proxy(postgres_engine: Engine) -> Iterator[Proxy]:
    with postgres_engine.begin() as connection:
        connection.execute(text("CREATE TABLE counts (n integer)"))
        connection.execute(text("INSERT INTO counts VALUES (0)"))
    with Proxy(postgres_engine.url.render_as_string(hide_password=False)) as proxy:
        yield proxy


@pytest.fixture
def far(proxy: Proxy) -> Engine:
    """Engine by way of the proxy; each time on a connection of its own."""
    return create_engine(proxy.url, poolclass=NullPool)


def count_up(engine: Engine, statement: str = _BLIND) -> None:
    with engine.begin() as connection:
        connection.execute(text(statement))


def counted(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text("SELECT n FROM counts")).scalar_one())


@pytest.mark.parametrize(("fate", "done"), [(Fate.DONE, 1), (Fate.LOST, 0)])
def test_a_commit_whose_answer_is_lost(
    postgres_engine: Engine, proxy: Proxy, far: Engine, fate: Fate, done: int
) -> None:
    ambush = proxy.ambush(fate)
    with pytest.raises(OperationalError):
        count_up(far)
    assert ambush.over.wait(60)
    assert counted(postgres_engine) == done


def test_a_commit_that_arrives_late(postgres_engine: Engine, proxy: Proxy, far: Engine) -> None:
    ambush = proxy.ambush(Fate.LATE)
    with pytest.raises(OperationalError):
        count_up(far)
    assert counted(postgres_engine) == 0
    ambush.release.set()
    assert ambush.over.wait(60)
    assert counted(postgres_engine) == 1


def test_an_ambush_lets_other_transactions_pass(
    postgres_engine: Engine, proxy: Proxy, far: Engine
) -> None:
    proxy.ambush(Fate.LOST, of=b"the one")
    count_up(far)
    with pytest.raises(OperationalError):
        count_up(far, f"{_BLIND} /* the one */")
    count_up(far)
    assert counted(postgres_engine) == 2


def test_a_cut_is_noticed_at_once(proxy: Proxy, far: Engine) -> None:
    with far.connect() as connection:
        assert proxy.cut() == 1
        with pytest.raises(OperationalError):
            connection.execute(text("SELECT 1"))
    count_up(far)


def test_who_is_down_refuses_and_comes_back_on_the_same_port(proxy: Proxy, far: Engine) -> None:
    url = proxy.url
    proxy.down()
    with pytest.raises(OperationalError):
        count_up(far)
    proxy.up()
    assert proxy.url == url
    count_up(far)


def test_a_black_hole_is_silent_until_it_heals(
    postgres_engine: Engine, proxy: Proxy, far: Engine
) -> None:
    done = threading.Event()

    def try_it() -> None:
        count_up(far)
        done.set()

    proxy.blackhole()
    thread = threading.Thread(target=try_it, daemon=True)
    thread.start()
    wait_for(lambda: proxy.connections, message="the connection to be made")
    assert counted(postgres_engine) == 0
    assert not done.is_set()
    proxy.heal()
    assert done.wait(60)
    thread.join(60)


def test_a_broker_behind_it(valkey_url: str) -> None:
    with Proxy(valkey_url) as proxy, Broker(proxy.url) as broker:
        broker.ensure_connection(max_retries=1, timeout=10)
        assert proxy.connections == 1


@pytest.mark.parametrize("url", ["amqp://guest:guest@127.0.0.1:5672//", "redis://127.0.0.1:1/15"])
def test_of_an_url_only_the_port_is_another(url: str) -> None:
    with Proxy(url) as proxy:
        port = proxy.url.rpartition("@")[2].rpartition("127.0.0.1:")[2].partition("/")[0]
        assert proxy.url == url.replace(":5672/", f":{port}/").replace(":1/", f":{port}/")
