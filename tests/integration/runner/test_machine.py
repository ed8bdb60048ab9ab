"""Whatever several lanes do in whatever order: every row once, no gap, called back once.

Hypothesis chooses the order, statement by statement. `BREAKBULK_SEED` repeats a run of the tests;
``make soak`` tries many more, and shrinks what it finds.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, note, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)

from tests.support.databases import fresh_postgres
from tests.support.loom import Stop, Stride
from tests.support.quay import LEASE, Base, Quay, Temper, empty
from tests.support.stops import Mishap, Server
from tests.support.verdict import drive, judge_end, repair
from tests.support.yard import ground

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator

    from sqlalchemy import Engine

    from tests.support.loom import Strand
    from tests.support.servers import Servers
    from tests.support.yard import Crew

_PLACE: list[tuple[Engine, Server | None]] = []
_SEEN: Counter[str] = Counter()
#: At most: strands at a time, workers, runs, keys.
_MOST, _CREWS, _RUNS, _KEYS = 7, 3, 2, 14
_BATCH = 5
#: Longer than the longest ``carve_seconds``, and shorter than a server waits for who sleeps.
_SOON = 1.5
_places = st.integers(0, 40)
#: A lane that goes on to its end leaves nothing to be interleaved with.
_strides = st.sampled_from([*Stride, *[one for one in Stride if one is not Stride.THROUGH] * 2])
_errands = st.sampled_from([*Stride, Stride.STEP, *[Stride.THROUGH] * 4])
_keys = st.integers(1, _KEYS)


class _Counting(logging.Handler):
    """Thousands of tracebacks of failures that were asked for: only counted."""

    def emit(self, record: logging.LogRecord) -> None:
        _SEEN[f"log: {record.msg}"[:60]] += 1


@contextmanager
def only_counted() -> Iterator[None]:
    """Nothing is logged meanwhile; whoever comes after, in the same process, is heard again."""
    log = logging.getLogger("breakbulk")
    handlers, propagate, level = log.handlers, log.propagate, log.level
    log.handlers, log.propagate = [_Counting()], False
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.handlers, log.propagate = handlers, propagate
        log.setLevel(level)


class Machine(RuleBasedStateMachine):
    """Workers, operators and a team around one table."""

    def __init__(self) -> None:
        super().__init__()
        self.quay: Quay | None = None

    @initialize(
        keys=st.sets(_keys, min_size=3) | st.sets(_keys, max_size=3),
        knobs=st.fixed_dictionaries(
            {
                "max_carve": st.integers(1, 3),
                # So long nobody takes over what another lane holds.
                "carve_seconds": st.sampled_from([1.0, 0.01]),
                "held_after_chunks": st.sampled_from([2, 1000]),
                "max_losses": st.integers(0, 2),
                "max_snoozes": st.integers(0, 3),
                "tally_seconds": st.sampled_from([0.0, 1000.0]),
                "poll_seconds": st.sampled_from([0.0, 30.0]),
            }
        ),
        options=st.fixed_dictionaries(
            {
                "chunk_size": st.integers(1, 5),
                "max_retries": st.integers(0, 2),
                "retry_delay": st.sampled_from([0, 60]),
                "on_failure": st.sampled_from(["isolate"] * 4 + ["skip", "stop"]),
                "tolerate": st.sampled_from([1000, 1000, 1000, 1, "10%"]),
                "filtered": st.booleans(),
                "has_failed": st.booleans(),
            }
        ),
        bad=st.sets(_keys, max_size=2),
        workers=st.integers(1, 2),
        lanes=st.integers(0, 3),
        ahead=st.booleans(),
        forks=st.booleans(),
        zombies=st.booleans(),
    )
    def submit(
        self,
        keys: set[int],
        knobs: dict[str, Any],
        options: dict[str, Any],
        bad: set[int],
        workers: int,
        lanes: int,
        *,
        ahead: bool,
        forks: bool,
        zombies: bool,
    ) -> None:
        engine, server = _PLACE[0]
        empty(engine)
        if ahead:
            # Of so few rows there is something left to carve then.
            knobs, options = {**knobs, "max_carve": 3}, {**options, "chunk_size": 1}
        self.quay = quay = Quay(engine, server, sorted(keys), forks=forks, **knobs)
        quay.declare(**options)
        quay.tempers = dict.fromkeys(bad, Temper.BAD)
        self.zombies = zombies
        for _ in range(workers):
            quay.join()
        quay.go(quay.submit(), Stride.THROUGH)
        assert quay.handles, "nothing was submitted"
        for number in range(lanes):
            self._go(quay.lane(self._crew(number)), Stride.WORK)
        if ahead:
            self._carve_ahead()

    def _carve_ahead(self) -> None:
        """Let a lane hold more than it is at: it does once it knows how quick it is."""
        strand = self._pick(0)
        for stride in (Stride.WORK, Stride.COMMITTED, Stride.COMMITTED):
            if not strand.over and not self._quay.hoards():
                self._go(strand, stride)

    # Going on

    def _go(self, strand: Strand, stride: Stride) -> None:
        self._quay.go(strand, stride)
        note(f"{strand} {strand.where}")
        _SEEN["steps"] += 1

    @property
    def _quay(self) -> Quay:
        assert self.quay is not None
        return self.quay

    @property
    def _strands(self) -> list[Strand]:
        return [] if self.quay is None else self.quay.loom.strands

    def _pick(self, place: int) -> Strand:
        """A strand that is under way, or else a new lane."""
        if not self._strands:
            return self._quay.lane(self._crew(place))
        return self._strands[place % len(self._strands)]

    def _begin(self, place: int, stride: Stride, spawn: Callable[[], Strand]) -> None:
        """Let another strand set off, or one of so many that are under way already."""
        self._go(spawn() if len(self._strands) < _MOST else self._pick(place), stride)

    def _crew(self, place: int) -> Crew:
        return self._quay.crews[place % len(self._quay.crews)]

    # No rule depends on what is there: where something is out of place, the next best is done.

    @rule(place=_places, stride=_strides)
    def go(self, place: int, stride: Stride) -> None:
        self._go(self._pick(place), stride)

    @rule(place=_places, stride=_strides)
    def go_on(self, place: int, stride: Stride) -> None:
        self._go(self._pick(place), stride)

    @rule(place=_places, steps=st.integers(1, 4))
    def step(self, place: int, steps: int) -> None:
        strand = self._pick(place)
        for _ in range(steps):
            if not strand.over:
                self._go(strand, Stride.STEP)

    @rule(place=_places, stride=_strides)
    def message(self, place: int, stride: Stride) -> None:
        """A worker is told to come and work."""
        self._begin(place, stride, lambda: self._quay.lane(self._crew(place)))

    @rule(place=_places, stride=_errands)
    def look_around(self, place: int, stride: Stride) -> None:
        """A worker's steward does."""
        self._begin(place, stride, lambda: self._quay.tick(self._crew(place)))

    @rule(place=_places, stride=_errands)
    def take_over(self, place: int, stride: Stride) -> None:
        """A lane does all that is left to carve, and then what another holds and has not begun."""
        quay = self._quay
        if not quay.hoards():
            self._go(self._pick(place), Stride.WORK)
            return
        if len(quay.crews) < _CREWS and quay.loom.writer is None:
            # Or there is no slot for another lane.
            quay.join()
        # Whoever holds it knows by then that it may be taken.
        quay.time_goes_by(_SOON)
        self._begin(place, stride, lambda: quay.lane(self._crew(place)))

    # What operators and the team do

    @rule(
        place=_places,
        verb=st.sampled_from(["pause", "resume", "resume", "cancel", "force", "retry", "finish"]),
        stride=_errands,
        dice=st.integers(0, 3),
    )
    def operate(self, place: int, verb: str, stride: Stride, dice: int) -> None:
        quay = self._quay
        if verb in {"cancel", "force"} and dice:
            return
        handle = quay.handles[place % len(quay.handles)]
        call = partial(handle.cancel, force=True) if verb == "force" else getattr(handle, verb)
        self._begin(place, stride, lambda: quay.verb(verb, call))

    @rule(place=_places, stride=_errands, overlap=st.sampled_from(["wait", "allow", "refuse"]))
    def submit_or_look(self, place: int, stride: Stride, overlap: str) -> None:
        """Somebody submits the job again, or looks at what there is."""
        quay = self._quay
        if len(quay.born) < _RUNS and place % 3 == 0:
            self._begin(place, stride, lambda: quay.submit(overlap=overlap))
            return
        for handle in quay.handles:
            audit, progress = handle.audit(), handle.progress()
            assert audit.clean, audit.findings
            if progress.rows_total is not None:
                assert progress.rows_done <= progress.rows_total

    @rule(key=_keys, stride=_errands)
    def change_table(self, key: int, stride: Stride) -> None:
        quay = self._quay
        if key in quay.tallyman.latest.crates:
            self._begin(key, stride, lambda: quay.delete(key))
        elif key not in quay.used:
            # Never a key that was there before: what was done to it is written down.
            self._begin(key, stride, lambda: quay.insert(key))

    @rule(
        key=st.integers(0, _KEYS),
        temper=st.sampled_from([None, None, None, *Temper, Temper.BAD, Temper.BAD]),
    )
    def turn(self, key: int, temper: Temper | None) -> None:
        """A row turns good or bad, or the callback does."""
        if not key:
            self._quay.callback = temper
        elif temper is None:
            self._quay.tempers.pop(key, None)
        else:
            self._quay.tempers[key] = temper

    # What goes wrong

    @rule(seconds=st.sampled_from([1.0, 10.0, 61.0]))
    def time_goes_by(self, seconds: float) -> None:
        self._quay.time_goes_by(seconds)

    @rule(place=_places, how=st.sampled_from(["killed", "cut", "late", "late"]))
    def strike(self, place: int, how: str) -> None:
        """A strand is killed, or loses its connections, or its lane takes too long."""
        quay, strand = self._quay, self._pick(place)
        note(f"{strand} {strand.where}: {how}")
        if how == "killed":
            quay.loom.kill(strand)
        elif how == "cut":
            quay.loom.cut(strand)
            quay.loom.come_to_rest()
        elif "lane" in strand.notes and strand.notes["crew"] in quay.crews:
            # It may just have gone on when its steward looks.
            crew = strand.notes["crew"]
            crew.overdue.add(strand.notes["lane"])
            self._go(quay.tick(crew), Stride.THROUGH)
        quay.look_after()

    @rule(place=_places, mishap=st.sampled_from(Mishap))
    def lose_commit(self, place: int, mishap: Mishap) -> None:
        before = [one for one in self._strands if one.stop is Stop.COMMIT and not one.moving]
        strand = before[place % len(before)] if before else self._pick(place)
        if strand.stop is not Stop.COMMIT:
            self._go(strand, Stride.COMMIT)
        if strand.stop is Stop.COMMIT and not strand.over and self._quay.server is not None:
            strand.notes["mishap"] = mishap
            self._go(strand, Stride.STEP)

    @rule(
        place=_places,
        fate=st.sampled_from(["joins", "dies", "silent", "silent", "drains"]),
    )
    def worker(self, place: int, fate: str) -> None:
        """One starts, dies with all it runs, is not heard from, or shuts down."""
        quay, crew = self._quay, self._crew(place)
        note(f"worker {quay.crews.index(crew) + 1} {fate}")
        match fate:
            case "joins" if len(quay.crews) < _CREWS and quay.loom.writer is None:
                quay.join()
            case "dies" if len(quay.crews) > 1:
                quay.leave(crew)
            case "silent" if len(quay.crews) > 1:
                self._silence(crew)
            case "drains":
                crew.draining = True

    def _silence(self, silent: Crew) -> None:
        """Its lease runs out while the others look around; what it runs may go on."""
        for _ in range(4):
            self._quay.time_goes_by(LEASE * 0.6)
            for crew in self._quay.crews:
                if crew is not silent:
                    self._go(self._quay.tick(crew), Stride.THROUGH)

    # The end

    def teardown(self) -> None:
        if self.quay is None:
            return
        try:
            if not self.quay.loom.mistakes:
                self._end(self.quay)
        finally:
            self.quay.close()

    def _end(self, quay: Quay) -> None:
        frozen = self._freeze(quay)
        crew = quay.join()
        drive(quay, crew)
        for handle in quay.handles:
            judge_end(quay, handle)
        ended = quay.tallyman.latest
        for strand in frozen:
            while not strand.over:
                quay.go(strand, Stride.THROUGH)
        now = quay.tallyman.latest
        assert (now.runs, now.chunks, now.marks) == (ended.runs, ended.chunks, ended.marks)
        _SEEN["examples"] += 1
        _SEEN.update(str(run.status) for run in now.runs.values())
        _SEEN.update({verb for _, _, verb in now.activity})
        _SEEN.update({f"chunk {one.status}" for one in now.chunks.values()})
        _SEEN.update({"round 2" for run in now.runs.values() if run.round > 1})
        _SEEN.update({"lost" for one in now.chunks.values() if one.losses})
        _SEEN.update({"snoozed" for one in now.chunks.values() if one.snoozes})
        _SEEN.update({"shared out" for _, _, path in now.chunks if path[-1:] in {"a", "b"}})
        for handle in quay.handles:
            repair(quay, crew, handle)

    def _freeze(self, quay: Quay) -> list[Strand]:
        """Nobody goes on but one healthy worker; lanes may come back when all is over."""
        frozen = []
        for strand in list(quay.loom.strands):
            lane = "lane" in strand.notes and "steward" not in strand.notes
            if self.zombies and quay.server is not None and lane:
                frozen.append(strand)
            else:
                quay.loom.kill(strand)
        for crew in list(quay.crews):
            if not any(strand.notes.get("crew") is crew for strand in frozen):
                quay.leave(crew)
        return frozen


@pytest.fixture(scope="module")
def on_postgres(test_servers: Servers) -> Iterator[tuple[Engine, Server]]:
    with fresh_postgres(test_servers.postgres) as url, ground(url) as engine:
        Base.metadata.create_all(engine)
        server = Server(url)
        yield engine, server
        server.close()


@pytest.fixture(scope="module")
def on_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Engine, None]]:
    with ground(f"sqlite:///{tmp_path_factory.mktemp('ground') / 'quay.sqlite'}") as engine:
        Base.metadata.create_all(engine)
        yield engine, None


@only_counted()
def explore(
    place: tuple[Engine, Server | None],
    seed: random.Random,
    *,
    examples: int,
    steps: int,
    seconds: float,
    shrink: bool = False,
) -> Counter[str]:
    """Try so many examples, a few at a time until the time is over; what was seen."""
    _PLACE[:] = [place]
    _SEEN.clear()
    until = time.monotonic() + seconds
    while _SEEN["tried"] < examples and (not _SEEN["tried"] or time.monotonic() < until):
        machine = seeded(seed.getrandbits(64))(Machine)
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=_BATCH,
                stateful_step_count=steps,
                deadline=None,
                database=None,
                print_blob=True,
                report_multiple_bugs=False,
                phases=[Phase.generate, *([Phase.shrink] if shrink else [])],
                suppress_health_check=list(HealthCheck),
            ),
        )
        _SEEN["tried"] += _BATCH
    return _SEEN


#: Each example is another one in every session, so a few at a time come to many; CI tries more.
_EXAMPLES = [10, pytest.param(20, marks=pytest.mark.thorough)]


@pytest.mark.thorough
@pytest.mark.parametrize("examples", _EXAMPLES)
def test_any_order_on_sqlite(
    on_sqlite: tuple[Engine, None], seed: random.Random, examples: int
) -> None:
    explore(on_sqlite, seed, examples=examples, steps=50, seconds=examples)


@pytest.mark.parametrize("examples", _EXAMPLES)
def test_any_order_on_postgres(
    on_postgres: tuple[Engine, Server], seed: random.Random, examples: int
) -> None:
    explore(on_postgres, seed, examples=examples, steps=50, seconds=examples)


@pytest.mark.soak
@pytest.mark.parametrize("kind", ["on_sqlite", "on_postgres"])
def test_any_order_for_long(kind: str, request: pytest.FixtureRequest, seed: random.Random) -> None:
    place = request.getfixturevalue(kind)
    seen = explore(place, seed, examples=5000, steps=80, seconds=900, shrink=False)
    assert seen["took over"], "nobody has taken over anything"
