"""The broker is disposable: whatever becomes of its messages, the run ends right."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.chaos.faults import brokers
from tests.support.proxy import Proxy

if TYPE_CHECKING:
    from typing import Any

    from tests.support.arenas import Arenas
    from tests.support.fault import Fault

#: Lanes are handed on all the time, so that much depends on messages.
_KNOBS = {"slice_seconds": 1.0}
_MESSAGES = [
    one if one is brokers.MESSAGES[0] else pytest.param(one, marks=pytest.mark.thorough)
    for one in brokers.MESSAGES
]


@pytest.mark.parametrize("what", _MESSAGES, ids=lambda one: one.name.replace(" ", "-"))
def test_messages(set_arena: Arenas, what: Fault) -> None:
    arena = set_arena(breaks=what.breaks, knobs=_KNOBS)
    bout = arena.suffer(what)
    assert not arena.stage.attempts(bout.run)
    assert not arena.stage.losses(bout.run)
    if arena.relay is not None:
        assert arena.relay.unusual, "no message was treated otherwise than usual"


@pytest.mark.thorough
@pytest.mark.parametrize("seconds", [5, pytest.param(10, marks=pytest.mark.soak)])
def test_a_broker_that_comes_back_empty(set_arena: Arenas, seconds: int) -> None:
    what = brokers.a_broker_away(seconds)
    arena = set_arena(breaks=what.breaks, knobs=_KNOBS, seconds=0.3)
    bout = arena.suffer(what)
    assert not arena.stage.attempts(bout.run)


@pytest.mark.parametrize("seconds", [5, pytest.param(10, marks=pytest.mark.soak)])
def test_a_rabbit_that_comes_back_empty(set_arena: Arenas, broker_named: Any, seconds: int) -> None:
    url = broker_named("amqp")
    with Proxy(url) as way:
        arena = set_arena(broker=way.url, knobs=_KNOBS, seconds=0.3)
        bout = arena.suffer(brokers.a_rabbit_away(seconds, url, way))
        assert not arena.stage.attempts(bout.run)
        arena.close()
