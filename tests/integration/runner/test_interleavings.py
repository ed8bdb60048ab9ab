"""Whatever several lanes do in whatever order: every row once, no gap, called back once.

Hypothesis chooses the order. Each lane is taken apart into its steps (carve, claim, work, fail,
die, sign off, finish), so that others, an operator and the steward come in between any two.
``BREAKBULK_SEED`` repeats a run; ``make soak`` tries many more, and shrinks what it finds.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, Phase, note, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from breakbulk import CancelRun, RunStatus, Snooze
from breakbulk.domain.failure import Failure
from breakbulk.domain.keys import decode_key
from breakbulk.domain.status import FINISHED, WORKABLE
from breakbulk.errors import LostClaim, StateError
from breakbulk.runner.attempt import Tally, Work
from breakbulk.runner.carve import carve
from breakbulk.runner.finish import call_back, close_run, settle
from breakbulk.runner.isolate import Isolation, note_failure, spent
from breakbulk.runner.origin import source_of
from breakbulk.runner.rescue import rescue
from breakbulk.runner.takeover import TakeOver
from tests.support.yard import Boom, Yard, wipe

if TYPE_CHECKING:
    import random

    from sqlalchemy import Engine

    from breakbulk import Chunk, RunHandle
    from breakbulk.domain.chunk import Claim
    from breakbulk.ledger.lanes import Lane
    from tests.support.yard import Goods

_ENGINE: list[Engine] = []


class Strand:
    """A lane taken apart: what it knows, and one method for each of its steps."""

    def __init__(self, yard: Yard, handle: RunHandle, lane: Lane) -> None:
        self.yard, self.handle, self.lane = yard, handle, lane
        self.claims: list[Claim] = []
        self.gone = False
        run = handle.record()
        spec = yard.bulk.jobs.get(run.job)
        self.job = spec.build(run.parameters)
        self.source = source_of(yard.runtime, spec, self.job, run)
        self.tally = Tally()

    def carve(self, chunks: int) -> None:
        with self.yard.runtime.database.connect() as connection:
            carved = carve(
                self.yard.runtime,
                connection,
                connection,
                run=self.handle.record(),
                lane=self.lane,
                owner=uuid4(),
                source=self.source,
                chunks=chunks,
            )
        self.claims += carved.claims

    def claim_waiting(self) -> None:
        claims = self.yard.ledger.claims
        with self.yard.transaction() as connection:
            claims.lock(connection, self.handle.id)
            if claims.may_work(connection, self.handle.id, self.lane.token):
                self.claims += claims.claim_waiting(
                    connection, self.handle.id, lane=self.lane.number, owner=uuid4(), limit=2
                )
        self.claims.sort(key=lambda claim: (claim.ref.number, claim.ref.path))

    def take_over(self) -> None:
        with self.yard.runtime.database.connect() as connection:
            taken = TakeOver(
                self.yard.runtime,
                connection,
                connection,
                self.handle.record(),
                self.lane,
                self.source,
            ).attempt(uuid4(), tell=False)
        self.claims += taken.claims

    def was_robbed(self, claim: Claim) -> bool:
        """Whether another lane has taken it; who was declared dead does not ask."""
        with self.yard.reading() as connection:
            return not self.gone and not self.yard.ledger.claims.owns(connection, claim)

    def work(self, claim: Claim) -> None:
        work = Work(
            self.yard.runtime,
            self.handle.record(),
            self.job,
            self.source,
            self.lane.number,
            self.tally,
        )
        with self.yard.runtime.database.connect() as connection:
            work.attempt(connection, connection, claim)

    def decide(self, claim: Claim) -> None:
        with self.yard.runtime.database.connect() as connection:
            Isolation(
                self.yard.runtime,
                connection,
                connection,
                self.handle.record(),
                self.source,
                actor="a test",
            ).decide(claim)

    def fail(self, claim: Claim) -> None:
        with self.yard.transaction() as connection:
            self.yard.ledger.claims.lock(connection, self.handle.id)
            note_failure(
                self.yard.runtime,
                connection,
                claim,
                Failure.of(Boom()),
                worker="test",
                host="here",
                seconds=0.0,
            )

    def snooze(self, claim: Claim) -> None:
        claims = self.yard.ledger.claims
        with self.yard.transaction() as connection:
            claims.lock(connection, self.handle.id)
            claims.give_back(connection, claim, wait=0, attempt_spent=False, snoozed=True)

    def sign_off(self) -> None:
        claims = self.yard.ledger.claims
        with self.yard.transaction() as connection:
            claims.lock(connection, self.handle.id)
            owners = [claim.owner for claim in self.claims]
            for claim in claims.held_by(connection, self.handle.id, owners):
                claims.give_back(connection, claim, wait=0, attempt_spent=False)
            self.yard.ledger.lanes.leave(connection, self.lane.token)
        self.gone = True

    def call_back(self) -> None:
        process = self.yard.first_crew.process
        with self.yard.runtime.database.connect() as connection:
            if close_run(self.yard.runtime, connection, self.handle.id):
                call_back(self.yard.runtime, connection, connection, process, self.lane)


class Interleavings(RuleBasedStateMachine):
    """One run, up to four lanes at a time, an operator and a steward."""

    strands = Bundle("strands")

    @initialize(
        rows=st.integers(0, 12),
        chunk_size=st.integers(1, 5),
        max_retries=st.integers(0, 2),
        bad=st.sets(st.integers(1, 12), max_size=3),
        chunks_in_a_row=st.sampled_from([2, 1000]),
    )
    def submit(
        self, rows: int, chunk_size: int, max_retries: int, bad: set[int], chunks_in_a_row: int
    ) -> None:
        wipe(_ENGINE[0])
        self.yard = Yard(
            _ENGINE[0],
            rows=rows,
            shared=True,
            held_after_chunks=chunks_in_a_row,
            carve_seconds=0.0,
        )
        self.bad = bad
        self.yard.crew()
        self.outcomes: dict[tuple[int, int], str] = {}
        self.committed: Counter[int] = Counter()
        self.handle = self.yard.submit(
            self.yard.job(self._process, chunk_size=chunk_size, max_retries=max_retries)
        )
        self.lanes: list[Strand] = []
        self.number = 0
        self.next: str = "fine"

    def _process(self, chunk: Chunk[Goods]) -> None:
        for row in chunk:
            row.version += 1
        chunk.session.flush()
        if self.next == "fails" or self.bad & {row.id for row in chunk}:
            raise Boom
        if self.next == "snoozes":
            raise Snooze(0)
        if self.next == "cancels":
            raise CancelRun("of itself")

    @property
    def living(self) -> list[Strand]:
        return [one for one in self.lanes if not one.gone]

    @rule(target=strands)
    def enter(self) -> Strand | None:
        taken = {one.lane.number for one in self.living}
        free = sorted(set(range(4)) - taken)
        if not free or self.handle.status() not in WORKABLE:
            return None
        strand = Strand(self.yard, self.handle, self.yard.lane(self.handle, free[0]))
        self.lanes.append(strand)
        return strand

    @rule(strand=strands, chunks=st.integers(1, 3))
    def carve(self, strand: Strand | None, chunks: int) -> None:
        if strand is not None:
            # A lane that was declared dead does not know it yet, and tries all the same.
            strand.carve(chunks)

    @rule(strand=strands)
    def claim_waiting(self, strand: Strand | None) -> None:
        if strand is not None:
            strand.claim_waiting()

    @rule(strand=strands)
    def take_over(self, strand: Strand | None) -> None:
        if strand is not None and not strand.claims:
            strand.take_over()

    @rule(strand=strands, how=st.sampled_from(["fine", "fine", "fine", "fails", "snoozes"]))
    def work(self, strand: Strand | None, how: str) -> None:
        if strand is None or not strand.claims:
            return
        claim, self.next = strand.claims.pop(0), how
        if strand.was_robbed(claim):
            return
        if spent(self.handle.record(), claim):
            strand.decide(claim)
            return
        try:
            strand.work(claim)
        except LostClaim:
            assert strand.gone or self.handle.status() in FINISHED | {RunStatus.FINISHING}
        except Boom:
            strand.fail(claim)
        except Snooze:
            strand.snooze(claim)

    @rule(strand=strands)
    def work_twice(self, strand: Strand | None) -> None:
        """A copy of the same lane: the same token."""
        if strand is None or not strand.claims:
            return
        if spent(self.handle.record(), strand.claims[0]):
            return
        claim, self.next = strand.claims.pop(0), "fine"
        if strand.was_robbed(claim):
            return
        for copy in range(2):
            try:
                strand.work(claim)
            except (LostClaim, Boom):
                continue
            assert copy == 0, "both copies have committed"

    @rule(strand=strands, seen=st.booleans())
    def die(self, strand: Strand | None, seen: bool) -> None:
        """Its process is killed, or only believed dead and goes on with what it holds."""
        if strand is None or strand.gone:
            return
        with self.yard.runtime.database.connect() as connection:
            failure = Failure.of_death("a test") if seen else None
            assert rescue(self.yard.runtime, connection, strand.lane, why="a test", failure=failure)
        strand.gone = True

    @rule(strand=strands)
    def sign_off(self, strand: Strand | None) -> None:
        if strand is not None and not strand.gone:
            strand.sign_off()
            strand.claims.clear()

    @rule(strand=strands)
    def finish(self, strand: Strand | None) -> None:
        if strand is not None:
            strand.call_back()

    @rule(verb=st.sampled_from(["pause", "resume"]))
    def steer(self, verb: str) -> None:
        try:
            getattr(self.handle, verb)()
        except StateError as error:
            note(str(error))

    @precondition(lambda self: len(self.lanes) > 2)
    @rule(dice=st.integers(0, 5))
    def cancel(self, dice: int) -> None:
        if dice:
            return
        try:
            self.handle.cancel()
        except StateError as error:
            note(str(error))

    @rule()
    def bring_to_rest(self) -> None:
        with self.yard.runtime.database.connect() as connection:
            settle(self.yard.runtime, connection, self.handle.id)

    @invariant()
    def what_is_there_fits(self) -> None:
        if not hasattr(self, "handle"):
            return
        versions = self.yard.versions()
        done = [row for row in self.yard.rows_of("chunks") if row["status"] == "succeeded"]
        assert set(versions.values()) <= {0, 1}, "a row was processed twice"
        assert sum(versions.values()) == sum(row["rows"] for row in done)
        waiting = {(row["number"], row["path"]) for row in self.yard.rows_of("waiting")}
        stated = {
            (row["number"], row["path"])
            for row in self.yard.rows_of("chunks")
            if row["status"] == "waiting"
        }
        assert waiting == stated
        owned = {row["status"] for row in self.yard.rows_of("chunks") if row["owner"] is not None}
        assert owned <= {"carved"}
        assert len(self.yard.notices()) <= 1
        assert self.handle.audit().clean

    def teardown(self) -> None:
        if not hasattr(self, "handle"):
            return
        try:
            self._end()
        finally:
            self.yard.close()

    def _end(self) -> None:
        self.next = "fine"
        for strand in self.living:
            strand.sign_off()
        if self.handle.status() in {RunStatus.PAUSED, RunStatus.PAUSING, RunStatus.HELD}:
            self.handle.resume()
        self._settle()
        record = self.handle.record()
        assert record.status in FINISHED
        verbs = [one.verb for one in self.handle.activity(1000)]
        assert verbs.count("finishing") == 1
        self._nothing_is_left()
        if record.status is RunStatus.CANCELLED:
            assert self.yard.notices() == []
            return
        versions = self.yard.versions()
        quarantined = self.handle.errors()
        assert {row for row, version in versions.items() if not version} == {
            decode_key(row.key)[0] for row in quarantined
        }
        assert record.summary is not None
        assert record.summary.rows_failed == record.summary.rows_quarantined == len(quarantined)
        assert self.yard.notices() == [f"{record.status} {sum(versions.values())}"]
        assert record.status is (RunStatus.PARTIAL if quarantined else RunStatus.SUCCEEDED)
        if quarantined:
            self._retry()

    def _retry(self) -> None:
        """What failed is put right and tried again: now every row is done, once."""
        self.bad = set()
        self.handle.retry()
        self._settle()
        self._nothing_is_left()
        versions = self.yard.versions()
        assert set(versions.values()) == {1}
        assert self.handle.status() is RunStatus.SUCCEEDED
        assert self.handle.errors() == []
        assert self.yard.notices()[1:] == [f"succeeded {len(versions)}"]

    def _settle(self) -> None:
        self.yard.settle(self.handle)
        while self.handle.status() is RunStatus.HELD:
            self.handle.resume()
            self.yard.settle(self.handle)

    def _nothing_is_left(self) -> None:
        audit = self.handle.audit()
        assert audit.clean, audit.findings
        assert self.yard.count("waiting") == self.yard.count("lanes") == 0


def explore(
    engine: Engine, seed: random.Random, *, examples: int, steps: int, shrink: bool = False
) -> None:
    _ENGINE[:] = [engine]
    machine = seeded(seed.getrandbits(64))(Interleavings)
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            print_blob=True,
            phases=[Phase.generate, *([Phase.shrink] if shrink else [])],
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.thorough
def test_any_order_on_sqlite(sqlite_ground: Engine, seed: random.Random) -> None:
    explore(sqlite_ground, seed, examples=12, steps=25)


def test_any_order_on_postgres(postgres_ground: Engine, seed: random.Random) -> None:
    explore(postgres_ground, seed, examples=5, steps=25)


@pytest.mark.soak
def test_any_order_for_long(clean_engine: Engine, seed: random.Random) -> None:
    explore(clean_engine, seed, examples=500, steps=60, shrink=True)
