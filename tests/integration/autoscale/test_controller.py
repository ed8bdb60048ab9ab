"""The controller on a real ledger: one leads, all that it knows is kept, runs are told."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from sqlalchemy import update

from breakbulk.autoscale import Controller, Node
from breakbulk.domain.scaling import History, Limits
from breakbulk.errors import ProviderRefused
from breakbulk.ledger.sql import clock
from breakbulk.ledger.workers import Worker
from tests.support.rack import Rack
from tests.support.yard import together

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from breakbulk import RunHandle
    from tests.support.yard import Yard

LIMITS = Limits(minimum=1, maximum=8, out_cooldown=0, in_cooldown=0, start_seconds=0)


def controller(yard: Yard, rack: Rack, **options: Any) -> Controller:
    """One for the queue of the yard's jobs."""
    return Controller(yard.bulk, rack, LIMITS, queues=["celery"], **options)


def big_run(yard: Yard, **options: Any) -> RunHandle:
    """A run that takes all nodes: its job's last run took long, and it is wanted at once."""
    job = yard.job()
    yard.settle(yard.submit(job))
    schema = yard.ledger.database.schema
    with yard.transaction() as connection:
        connection.execute(update(schema.chunks).values(seconds=100.0))
    handle = yard.submit(job, finish_by=1, **options)
    with yard.transaction() as connection:
        is_it = schema.runs.c.id == handle.id
        connection.execute(update(schema.runs).where(is_it).values(rows_estimate=10_000))
    return handle


def told(handle: RunHandle) -> list[tuple[str, str, str | None]]:
    """What the run's activity says of scaling, the oldest first."""
    found = [(one.actor, one.verb, one.detail) for one in handle.activity()]
    return [one for one in reversed(found) if one[0].startswith("autoscale")]


def test_it_grows_step_by_step_and_the_run_is_told(yard: Yard) -> None:
    rack = Rack()
    rack.grow(1)
    scaling = controller(yard, rack)
    scaling.turn()
    assert rack.size() == 1
    handle = big_run(yard)
    turn = scaling.turn()
    assert turn.decision is not None
    assert (turn.decision.before, turn.decision.nodes, rack.size()) == (1, 2, 2)
    late, grown = told(handle)
    assert late[:2] == ("autoscale rack", "late")
    assert late[2] is not None
    assert "cannot be done in time" in late[2]
    assert grown[:2] == ("autoscale rack", "scaled out")
    assert grown[2] is not None
    assert grown[2].startswith("1 to 2 nodes: ")
    scaling.turn()
    assert len(told(handle)) == 2, "what has been said is not said again"


def test_it_shrinks_to_the_least_when_there_is_nothing_to_do(yard: Yard) -> None:
    rack = Rack()
    rack.grow(5)
    controller(yard, rack).turn()
    assert rack.size() == 1


def test_a_run_that_holds_back_keeps_one_node_to_look_and_no_more(yard: Yard) -> None:
    rack = Rack()
    rack.grow(5)
    scaling = Controller(yard.bulk, rack, replace(LIMITS, minimum=0), queues=["celery"])
    handle = big_run(yard)
    runs = yard.ledger.database.schema.runs
    with yard.transaction() as connection:
        connection.execute(update(runs).where(runs.c.id == handle.id).values(throttled_to=0))
    scaling.turn()
    assert rack.size() == 1
    assert [verb for _, verb, _ in told(handle)] == ["scaled in"]


def test_one_leads_and_another_one_goes_on_when_it_resigns(yard: Yard) -> None:
    rack = Rack()
    first, second = controller(yard, rack), controller(yard, rack)
    assert first.turn().leads
    big_run(yard)
    turn = second.turn()
    assert (turn.leads, turn.as_dict()) == (False, {"leads": False})
    assert rack.size() == 1
    first.resign()
    taken = second.turn()
    assert taken.leads
    assert taken.decision is not None
    assert taken.decision.before == 1, "it knows what the first one has done"
    assert not first.turn().leads


def test_of_two_at_the_same_instant_one_wins(yard: Yard) -> None:
    """Whichever it is, the other one starts nothing: each time anew, for it is a race."""
    big_run(yard)
    for number in range(8):
        racks = [Rack(name=f"rack {number}") for _ in range(2)]
        turns = together(*(controller(yard, rack).turn for rack in racks))
        assert sorted(turn.leads for turn in turns) == [False, True], turns
        assert sorted(len(rack.there) for rack in racks) == [0, 2]
        assert {len(rack.there) for rack, turn in zip(racks, turns, strict=True) if turn.leads} == {
            2
        }


def test_who_has_not_been_heard_from_is_replaced(yard: Yard) -> None:
    rack = Rack()
    first, second = controller(yard, rack), controller(yard, rack)
    first.turn()
    scalers = yard.ledger.database.schema.scalers
    with yard.transaction() as connection:
        connection.execute(update(scalers).values(lease_until=clock(-1.0)))
    assert second.turn().leads
    assert not first.turn().leads


def test_who_has_lost_the_lease_meanwhile_does_nothing(yard: Yard) -> None:
    """It was frozen between looking and acting."""

    class Slow(Rack):
        def nodes(self) -> list[Any]:
            yard.bulk.scaling.resign("rack", scaling._holder)
            assert yard.bulk.scaling.lead("rack", uuid4(), 60)
            return super().nodes()

    rack = Slow()
    scaling = controller(yard, rack)
    assert not scaling.turn().leads
    assert rack.there == []


def test_what_could_not_be_done_is_done_by_the_next_one(yard: Yard) -> None:
    """As if it had died between writing down what it does, and doing it."""
    rack = Rack(broken=ProviderRefused("No machine is to be had."))
    handle = big_run(yard)
    with pytest.raises(ProviderRefused):
        controller(yard, rack).turn()
    assert [verb for _, verb, _ in told(handle)] == ["late", "scaled out"]
    rack.broken = None
    scalers = yard.ledger.database.schema.scalers
    with yard.transaction() as connection:
        connection.execute(update(scalers).values(holder=None))
    turn = controller(yard, rack).turn()
    assert rack.size() == 2
    assert turn.decision is not None
    assert turn.decision.nodes == turn.decision.before == 2


def test_a_dry_run_writes_nothing_and_starts_nothing(yard: Yard) -> None:
    rack = Rack()
    handle = big_run(yard)
    dreaming = controller(yard, rack, dry_run=True)
    turns = [dreaming.turn() for _ in range(2)]
    assert [turn.decision.nodes for turn in turns if turn.decision] == [2, 2]
    assert yard.count("scalers") == 0
    assert (rack.there, rack.tended, told(handle)) == ([], [], [])
    assert controller(yard, rack).turn().leads, "and it is in nobody's way"


def lane_on(yard: Yard, handle: RunHandle, host: str, number: int = 0) -> UUID:
    """Let a lane be at work there; its token."""
    busy = yard.crew()
    lane = yard.lane(handle, number, crew=busy)
    with yard.transaction() as connection:
        workers = yard.ledger.database.schema.workers
        mine = workers.c.id == busy.process.worker_id
        connection.execute(update(workers).where(mine).values(host=host))
    return lane.token


def at_work_on(yard: Yard, host: str) -> UUID:
    """Let a lane be at work there, on a run that needs no more; its token."""
    return lane_on(yard, yard.submit(yard.job(max_lanes=1)), host)


def test_who_is_at_work_is_tended_and_taken_away_last(yard: Yard) -> None:
    rack = Rack()
    rack.grow(3)
    token = at_work_on(yard, "host3.example.org")
    controller(yard, rack).turn()
    assert [node.id for node in rack.there] == ["n3"], "though it came last"
    ((tended, (signal,)),) = rack.tended
    assert tended == ["n3"]
    assert (signal.queue, signal.lanes) == ("celery", 1)
    with yard.transaction() as connection:
        yard.ledger.lanes.leave(connection, token)


def test_who_does_not_show_yet_is_forgone_before_anybody_at_work_is_taken_away(yard: Yard) -> None:
    """Of eight that were asked for two are there: six less cost nobody a chunk."""
    rack = Rack(coming=6)
    rack.grow(8)
    token = at_work_on(yard, "host2")
    scaling = controller(yard, rack)
    turn = scaling.turn()
    assert turn.decision is not None
    assert (turn.decision.before, turn.decision.nodes) == (8, 1)
    assert [node.id for node in rack.there] == ["n2"]
    assert (rack.coming, rack.size()) == (0, 1)
    rack.coming = 6
    scaling.turn()
    assert [node.id for node in rack.there] == ["n2"], "nor when there is only one"
    assert rack.size() == 1
    with yard.transaction() as connection:
        yard.ledger.lanes.leave(connection, token)


def pass_time(yard: Yard, seconds: float) -> None:
    """Let the controller have done all that it remembers so much earlier."""
    scalers = yard.ledger.database.schema.scalers
    (row,) = yard.rows_of("scalers")
    kept = json.loads(row["state"])
    kept["history"] = History.from_dict(kept["history"]).earlier(seconds).as_dict()
    with yard.transaction() as connection:
        connection.execute(update(scalers).values(state=json.dumps(kept)))


def test_that_the_database_is_the_limit_is_told_once(yard: Yard) -> None:
    """However many nodes are there, a hundred rows a second are done."""
    rack = Rack()
    rack.grow(1)
    limits = replace(LIMITS, out_cooldown=30)
    scaling = Controller(yard.bulk, rack, limits, queues=["celery"])
    handle = big_run(yard)
    tallies = yard.ledger.database.schema.tallies
    tokens: list[UUID] = []
    seen = []
    for _ in range(8):
        tokens += [
            lane_on(yard, handle, node.host, number)
            for number, node in enumerate(rack.there)
            if number >= len(tokens)
        ]
        with yard.transaction() as connection:
            connection.execute(tallies.delete())
            values = {"run_id": handle.id, "at": clock(-1.0), "lane": 0, "chunks": 1, "rows": 1_100}
            connection.execute(tallies.insert().values(values))
        scaling.turn()
        seen.append(rack.size())
        pass_time(yard, 15)
    assert seen == [2, 2, 4, 4, 4, 4, 4, 4]
    said = [detail for _, verb, detail in told(handle) if verb == "no more nodes"]
    assert len(said) == 1, said
    assert said[0] is not None
    assert "the database is the limit: 4 did 100 rows/s, 2 did 100" in said[0]
    with yard.transaction() as connection:
        for token in tokens:
            yard.ledger.lanes.leave(connection, token)


def test_nodes_that_die_are_counted_and_those_that_were_taken_away_are_not(yard: Yard) -> None:
    rack = Rack()
    rack.grow(3)
    scaling = controller(yard, rack)
    turn = scaling.turn()
    assert (rack.size(), turn.look and turn.look.lost) == (1, 0)
    turn = scaling.turn()
    assert turn.look is not None
    assert turn.look.lost == 0
    rack.there.clear()
    turn = scaling.turn()
    assert (rack.size(), turn.look and turn.look.lost) == (1, 1)


def test_nodes_that_die_before_anybody_has_seen_them_are_counted(yard: Yard) -> None:
    """As when the command that starts them is wrong: one at each look, for ever, would be many."""

    class Stillborn(Rack):
        def grow(self, size: int) -> int:
            started = super().grow(size)
            self.there.clear()
            return started

    rack = Stillborn()
    scaling = controller(yard, rack)
    turns = [scaling.turn() for _ in range(8)]
    assert [turn.look and turn.look.lost for turn in turns][:4] == [0, 1, 1, 1]
    assert turns[-1].decision is not None
    assert not turns[-1].decision.starts
    assert "nodes have died in" in turns[-1].decision.reason
    assert rack._count == 3, "and no more is started for the time being"


def test_who_was_asked_to_stop_is_no_node_for_the_next_controller(yard: Yard) -> None:
    """One that still has a chunk in hand takes no other, so another one has to come."""

    class Slow(Rack):
        """Of whom it has asked to stop it knows as long as it lives."""

        def shrink(self, nodes: Sequence[Node]) -> None:
            self.tended.append(([node.id for node in nodes], []))

        def nodes(self) -> list[Node]:
            asked = {node for nodes, _ in self.tended for node in nodes}
            return [node for node in self.there if node.id not in asked]

        def size(self) -> int:
            return len(self.nodes())

        def tend(self, *_: object) -> None: ...

    first = Slow()
    first.grow(2)
    scaling = controller(yard, first)
    for _ in range(2):
        scaling.turn()
    assert first.tended == [(["n2"], [])]
    big_run(yard)
    scaling.resign()
    # The first one may have died before it could ask: asking again does no harm.
    second = Slow(there=first.there, _count=2)
    turn = controller(yard, second).turn()
    assert second.tended == [(["n2"], [])]
    assert turn.look is not None
    assert (turn.look.nodes, turn.look.lost) == (1, 0)
    assert [node.id for node in first.there] == ["n1", "n2", "n3"]


def test_a_provider_that_cannot_be_asked_changes_nothing(yard: Yard) -> None:
    class Away(Rack):
        def nodes(self) -> list[Node]:
            raise ProviderRefused("Nobody answers.")

    big_run(yard)
    before = yard.rows_of("scalers")
    with pytest.raises(ProviderRefused):
        controller(yard, Away()).turn()
    (kept,) = yard.rows_of("scalers")
    assert before == []
    assert kept["state"] == "{}"


def test_who_only_publishes_says_nothing_of_nodes(yard: Yard) -> None:
    """AWS scales there: that anything was scaled out would be a lie."""
    rack = Rack(scales=False)
    handle = big_run(yard)
    publishing = controller(yard, rack)
    turns = [publishing.turn() for _ in range(2)]
    assert [turn.leads for turn in turns] == [True, True]
    assert turns[0].as_dict()["published"][0]["queue"] == "celery"
    assert [nodes for nodes, _ in rack.tended] == [[], []]
    assert (rack.there, told(handle)) == ([], [])
    dreaming = controller(yard, rack, dry_run=True)
    assert dreaming.turn().signal
    assert len(rack.tended) == 2, "a dry run publishes nothing"


def test_a_node_is_known_by_host_and_process() -> None:
    worker = Worker(uuid4(), "ip-10-0-0-5.ec2.internal", 77, 1, "prefork", (), (), "")
    assert Node("i-1", "ip-10-0-0-5").runs(worker.host, worker.pid)
    assert not Node("i-1", "ip-10-0-0-50").runs(worker.host, worker.pid)
    assert Node("p", worker.host, 77).runs(worker.host, worker.pid)
    assert not Node("p", worker.host, 78).runs(worker.host, worker.pid)
