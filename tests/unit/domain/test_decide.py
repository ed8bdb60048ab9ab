"""Who scales workers: bounded, steady, in time where that can be, and honest where it cannot."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from breakbulk.domain.decide import decide
from breakbulk.domain.scaling import History, Limits, Look, Work
from breakbulk.errors import ConfigurationError
from tests.support.pool_of_nodes import Pool, SimulatedRun

LIMITS = Limits(minimum=1, maximum=16, slots=2, in_cooldown=120.0, start_seconds=10.0)


@st.composite
def pools(draw: st.DrawFn) -> Pool:
    """Bursts of runs, a pace that drifts, a database with an end, and nodes that die."""
    minimum = draw(st.integers(0, 3))
    limits = Limits(
        minimum=minimum,
        maximum=draw(st.integers(max(minimum, 1), 20)),
        slots=draw(st.integers(1, 4)),
        target_seconds=draw(st.sampled_from([30.0, 300.0])),
        out_cooldown=draw(st.sampled_from([0.0, 15.0, 60.0])),
        in_cooldown=draw(st.sampled_from([0.0, 60.0, 300.0])),
        start_seconds=draw(st.sampled_from([0.0, 10.0, 120.0])),
    )
    arrivals = st.tuples(st.floats(0, 1200), st.integers(1, 3000), st.none() | st.floats(-10, 3000))
    runs = [
        SimulatedRun(number, at, chunks, None if left is None else at + left)
        for number, (at, chunks, left) in enumerate(draw(st.lists(arrivals, max_size=6)))
    ]
    slow, quick = draw(st.floats(0.05, 20)), draw(st.floats(0.05, 20))
    return Pool(
        limits,
        runs,
        seconds=lambda at: slow + (quick - slow) * min(at / 1800, 1.0),
        most=draw(st.sampled_from([math.inf, 1.0, 10.0])),
        start=draw(st.floats(0, 60)),
        deaths=draw(st.lists(st.floats(0, 1800), max_size=12)),
    )


def something_new(pool: Pool, since: float, until: float) -> bool:
    """Whether a run has come meanwhile, a node has died, or chunks take another time."""
    if any(since < at <= until for at in (*(run.at for run in pool.runs), *pool.deaths)):
        return True
    looks = [
        look
        for look, (at, _) in zip(pool.looks, pool.decisions, strict=True)
        if since <= at <= until
    ]
    paces = {work.seconds / work.usable for look in looks for work in look.work}
    return bool(paces) and max(paces) > 1.001 * min(paces)


@given(pools())
@settings(max_examples=60)
def test_never_out_of_bounds_never_flapping_and_at_rest_in_the_end(pool: Pool) -> None:
    pool.play(1800)
    pool.deaths = ()
    for run in pool.runs:
        run.chunks = min(run.chunks, 1e-9)
    pool.play(4 * pool.limits.in_cooldown + 600)
    limits = pool.limits
    for _, decision in pool.decisions:
        assert limits.minimum <= decision.nodes <= limits.maximum
        assert decision.nodes <= max(2 * decision.before, 1, limits.minimum), "at most doubled"
        assert decision.reason
    for (at, before, after), (then, _, later) in itertools.pairwise(pool.changes):
        if after > before and later > after:
            assert then - at >= limits.out_cooldown
        if later < after:
            assert then - at >= limits.in_cooldown, "nothing is taken away that has just come"
        if after < before and later > after:
            assert something_new(pool, at, then), f"down at {at}, and up again at {then}"
    assert pool.decisions[-1][1].nodes == limits.minimum, "no work, no nodes"
    assert len(pool.history.wants) + len(pool.history.samples) < 60, "what is kept stays small"


@given(
    st.floats(0.2, 30),
    st.integers(1, 40),
    st.sampled_from([math.inf, 5.0]),
    st.sampled_from([None, 7200.0]),
)
@settings(max_examples=40)
def test_with_steady_work_it_settles(
    pace: float, lanes: int, most: float, deadline: float | None
) -> None:
    """A run with a deadline in two hours takes so many lanes; one without goes on for long."""
    chunks = 7200 * min(lanes / pace, most * 0.9) if deadline else 1e6
    pool = Pool(LIMITS, [SimulatedRun(1, 0, chunks, deadline)], seconds=lambda _at: pace, most=most)
    pool.play(3600)
    late = [change for change in pool.changes if change[0] > 1200]
    assert len(late) <= (0 if deadline is None else 2), pool.changes
    directions = [after > before for _, before, after in pool.changes]
    turns = sum(one != other for one, other in itertools.pairwise(directions))
    assert turns <= 1, pool.changes


@given(pools(), st.floats(0, 1800), st.floats(0.1, 1e6))
@settings(max_examples=20)
def test_a_clock_that_is_set_back_stops_nothing(pool: Pool, when: float, by: float) -> None:
    """Another server is the database now, and its clock is off."""
    pool.clock = lambda at: at - by if at >= when else at
    pool.play(1800)
    pool.deaths = ()
    for run in pool.runs:
        run.chunks = min(run.chunks, 1e-9)
    pool.play(4 * pool.limits.in_cooldown + 600)
    assert pool.decisions[-1][1].nodes == pool.limits.minimum
    assert len(pool.history.wants) + len(pool.history.samples) < 60, "what is kept stays small"


def test_a_clock_that_is_set_back_delays_no_step() -> None:
    """It goes up as it would have, but for the look at which nothing was seen to pass."""
    nodes = []
    for by in (0.0, 7200.0):
        pool = Pool(
            LIMITS,
            [SimulatedRun(1, 0, 50_000, 3600.0)],
            clock=lambda at, by=by: at - by if at > 30 else at,  # type: ignore[misc]
        )
        pool.play(600)
        nodes.append([decision.nodes for _, decision in pool.decisions])
    straight, back = nodes
    most = max(straight)
    assert straight[-1] == back[-1] == most
    assert back.index(most) - straight.index(most) <= 3


@given(pools(), st.floats(0, 1800), st.floats(0.1, 1e6))
@settings(max_examples=20)
def test_a_clock_that_is_set_forward_leaves_it_within_its_bounds(
    pool: Pool, when: float, by: float
) -> None:
    pool.clock = lambda at: at + by if at >= when else at
    pool.play(2400)
    for _, decision in pool.decisions:
        assert pool.limits.minimum <= decision.nodes <= pool.limits.maximum
        assert decision.nodes <= max(2 * decision.before, 1, pool.limits.minimum)


def test_runs_that_keep_coming_do_not_make_it_swing() -> None:
    runs = [SimulatedRun(n, 20.0 * n, 100) for n in range(360)]
    pool = Pool(LIMITS, runs)
    pool.play(7200)
    assert all(run.done_at is not None for run in runs[:350])
    assert len([change for change in pool.changes if change[0] > 1800]) <= 1, pool.changes


@given(
    st.floats(0.1, 10),
    st.floats(600, 5400),
    st.floats(0.05, 0.75),
    st.lists(st.floats(0, 3000), max_size=4),
)
@settings(max_examples=60)
def test_a_deadline_is_met_where_that_can_be(
    pace: float, left: float, share: float, deaths: list[float]
) -> None:
    """Work for three quarters of all nodes at most; the pace gets worse by a fifth meanwhile."""
    # Up to the most it goes in steps, each of which is looked at before the next.
    ramp = 5 * max(LIMITS.out_cooldown, 30.0)
    slots = LIMITS.maximum * LIMITS.slots
    chunks = share * slots * (left - ramp) / (1.2 * pace)
    run = SimulatedRun(1, 0, max(chunks, 1), left)
    pool = Pool(
        LIMITS, [run], seconds=lambda at: pace * (1 + 0.2 * min(at / left, 1)), deaths=deaths
    )
    pool.play(left + 300)
    assert run.done_at is not None
    assert run.done_at <= left + pool.interval, (run, pool.changes)
    assert not any(decision.late for _, decision in pool.decisions)


@given(
    st.floats(0.5, 10),
    st.floats(600, 5400),
    st.floats(1.3, 10),
    st.floats(0.75, 2.0),
)
@settings(max_examples=40)
def test_that_it_cannot_be_met_is_said_early_and_once(
    pace: float, left: float, share: float, drift: float
) -> None:
    """Also while chunks take longer and longer, or less, but not so little that it could be."""
    chunks = share * LIMITS.maximum * LIMITS.slots * left / pace
    pool = Pool(
        LIMITS,
        [SimulatedRun(7, 0, chunks, left)],
        seconds=lambda at: pace * (1 + (drift - 1) * min(at / left, 1)),
    )
    pool.play(left)
    said = [(at, decision.late) for at, decision in pool.decisions if decision.late]
    assert len(said) == 1, said
    at, ((run, sentence),) = said[0]
    assert run == 7
    assert "cannot be done in time" in sentence
    assert "at most 16 nodes may be there" in sentence
    assert at <= 0.1 * left, "early"
    assert pool.decisions[-1][1].nodes == LIMITS.maximum, "and it does what can be done"


@given(
    st.floats(0.5, 10),
    st.floats(600, 5400),
    st.floats(0.3, 0.7),
    st.floats(3, 10),
    st.floats(0.1, 0.6),
)
@settings(max_examples=40)
def test_that_it_can_be_met_no_longer_is_said_at_once(
    pace: float, left: float, share: float, factor: float, when: float
) -> None:
    """In the middle of the run chunks begin to take several times as long."""
    slots = LIMITS.maximum * LIMITS.slots
    run = SimulatedRun(7, 0, share * slots * left / pace, left)
    turns = when * left
    pool = Pool(LIMITS, [run], seconds=lambda at: pace if at < turns else factor * pace)
    pool.play(turns)
    assert not any(decision.late for _, decision in pool.decisions)
    at, chunks = pool.now, run.chunks
    assume(chunks * factor * pace / slots > 1.05 * (left - at))
    pool.play(left - at)
    said = [(at, decision.late) for at, decision in pool.decisions if decision.late]
    assert [len(late) for _, late in said] == [1]
    assert said[0][0] <= at + 2 * pool.interval


def test_when_the_database_is_the_limit_it_stops_and_says_so() -> None:
    """Four lanes do all that the database can."""
    pool = Pool(LIMITS, [SimulatedRun(1, 0, 50_000)], seconds=lambda _at: 0.4, most=10.0)
    pool.play(3000)
    nodes, reason = pool.decisions[-1][1].nodes, pool.decisions[-1][1].reason
    assert nodes == 4, pool.changes
    assert "the database is the limit: 4 did 10 rows/s, 2 did 10" in reason
    assert max(after for _, _, after in pool.changes) == 4


def test_that_the_database_is_the_limit_makes_a_deadline_impossible_and_is_said() -> None:
    pool = Pool(LIMITS, [SimulatedRun(1, 0, 50_000, 3000.0)], seconds=lambda _at: 0.4, most=10.0)
    pool.play(1500)
    (late,) = [decision.late for _, decision in pool.decisions if decision.late]
    assert "cannot be done in time" in late[0][1]


def test_without_such_a_limit_it_goes_on() -> None:
    pool = Pool(LIMITS, [SimulatedRun(1, 0, 500_000)], seconds=lambda _at: 0.4)
    pool.play(900)
    assert pool.decisions[-1][1].nodes == 16
    assert pool.history.ceiling is None


def test_other_jobs_are_another_matter() -> None:
    pool = Pool(LIMITS, [SimulatedRun(1, 0, 50_000)], seconds=lambda _at: 0.4, most=10.0)
    pool.play(600)
    assert pool.history.ceiling is not None
    look = replace(pool.looks[-1], at=pool.now, jobs="another")
    decision, history = decide(pool.limits, pool.history, look)
    assert history.ceiling is None
    assert decision.nodes == 8


def test_nodes_that_keep_dying_are_started_with_patience() -> None:
    deaths = [float(at) for at in range(5, 900, 5)]
    pool = Pool(LIMITS, [SimulatedRun(1, 0, 5_000)], deaths=deaths, start=60.0)
    pool.play(900)
    held = [decision for _, decision in pool.decisions if not decision.starts]
    assert "nodes have died in" in held[0].reason
    assert len(held) > 0.5 * len(pool.decisions), "it does not start one at each look"
    assert any(decision.starts for _, decision in pool.decisions[-70:]), "nor never again"


def test_no_node_is_started_on_a_guess() -> None:
    """Nobody knows yet what a chunk takes: one node finds out."""
    look = Look(0.0, 0, 0, 0, 0.0, "job", (Work(1, 1_000_000.0, 1_000_000, paced=False),))
    limits = Limits(minimum=0, maximum=50)
    decision, history = decide(limits, History(), look)
    assert decision.nodes == 1
    assert "at a guess" in decision.reason
    later = replace(look, at=100.0, nodes=1, ready=1)
    assert decide(limits, history, later)[0].nodes == 1


def test_work_that_only_one_lane_may_do_needs_one_slot() -> None:
    look = Look(0.0, 1, 1, 1, 10.0, "job", (Work(1, 9_000.0, 1, left=10.0),))
    assert decide(LIMITS, History(), look)[0].nodes == 1


def test_new_bounds_count_at_once() -> None:
    look = Look(0.0, 9, 9, 0, 0.0, "", ())
    assert decide(replace(LIMITS, maximum=4), History(), look)[0].nodes == 4
    assert decide(replace(LIMITS, minimum=12), History(), look)[0].nodes == 12


def test_who_comes_back_after_a_long_time_waits_before_it_takes_away() -> None:
    look = Look(0.0, 8, 8, 0, 0.0, "", ())
    _, history = decide(LIMITS, History(), look)
    decision, history = decide(LIMITS, history, replace(look, at=10_000.0))
    assert decision.nodes == 8
    for at in range(10_005, 10_130, 5):
        decision, history = decide(LIMITS, history, replace(look, at=float(at)))
    assert decision.nodes == 1


def test_what_is_remembered_survives_json() -> None:
    pool = Pool(LIMITS, [SimulatedRun(1, 0, 50_000)], seconds=lambda _at: 0.4, most=10.0)
    pool.play(300)
    kept = json.loads(json.dumps(pool.history.as_dict()))
    assert History.from_dict(kept) == pool.history
    assert History.from_dict({}) == History()


@pytest.mark.parametrize(
    "wrong",
    [
        {"minimum": 5, "maximum": 4},
        {"minimum": -1},
        {"minimum": 0, "maximum": 0},
        {"slots": 0},
        {"target_seconds": 0},
        {"in_cooldown": -1.0},
    ],
)
def test_limits_that_cannot_be_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError):
        Limits(**wrong)
