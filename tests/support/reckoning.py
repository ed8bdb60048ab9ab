"""What a ledger may look like from one COMMIT to the next: the rules of the game, in plain Python.

A *picture* is all that is committed at one moment. `judge` compares two that follow each other:
chunks and runs move along their arrows only, attempts count up by one, every row is done at most
once, and nothing is claimed that is not so. It knows nothing of how the product does it.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace

from breakbulk.domain.status import (
    CHUNK_ARROWS,
    FINISHED,
    RUN_ARROWS,
    UNFINISHED_CHUNK,
    WORKABLE,
    ChunkStatus,
    RunStatus,
)

#: A chunk: its run, number and path.
Name = tuple[int, int, str]
#: What an operator did is told by its name; these runs are of selects, so they go on as running.
_STATUSES = {str(status): str(status) for status in RunStatus} | {
    "resumed": str(RunStatus.RUNNING),
    "retried": str(RunStatus.RUNNING),
    "released": str(RunStatus.RUNNING),
}
#: What a run may be held for here: no job of these tests is wrong in itself.
_REASONS = re.compile(
    "nothing succeeds any more|the database takes no writes|waits for run"
    "|chunk .*(does not get on|the process dies whenever it is to be split)"
)


@dataclass(frozen=True, slots=True)
class ChunkSeen:
    """A chunk's row."""

    status: ChunkStatus
    owner: str | None
    lane: int | None
    after: str | None
    upto: str
    rows: int
    attempt: int
    losses: int
    snoozes: int

    def holds(self, key: int) -> bool:
        """Whether a row's key is in its range."""
        return (self.after is None or _key(self.after) < key) and key <= _key(self.upto)


@dataclass(frozen=True, slots=True)
class RunSeen:
    """A run's row."""

    status: RunStatus
    reason: str | None
    round: int
    until: str | None
    finisher: str | None
    finish_attempt: int
    callback_failed: bool
    exhausted: bool


@dataclass(slots=True)
class Picture:
    """All that is committed at one moment.

    Attributes:
        crates: how often each row was changed, by its key.
        marks: what ``process()`` left behind: run, row and chunk.
        calls: what callbacks left behind: run, round and their name.
        activity: the runs' lines, in order: run, actor and verb.
        tallies: chunks and rows that lanes have told, by run.
        failures: failed attempts, by chunk.
    """

    runs: dict[int, RunSeen] = field(default_factory=dict)
    chunks: dict[Name, ChunkSeen] = field(default_factory=dict)
    waiting: set[Name] = field(default_factory=set)
    crates: dict[int, int] = field(default_factory=dict)
    marks: list[tuple[int, int, int, str]] = field(default_factory=list)
    calls: list[tuple[int, int, str]] = field(default_factory=list)
    activity: list[tuple[int, str, str]] = field(default_factory=list)
    tallies: dict[int, tuple[int, int]] = field(default_factory=dict)
    failures: Counter[Name] = field(default_factory=Counter)
    quarantine: dict[Name, int] = field(default_factory=dict)
    lanes: Counter[int] = field(default_factory=Counter)

    def chunks_of(self, run: int) -> dict[Name, ChunkSeen]:
        """A run's chunks, in the order of their keys."""
        return {name: self.chunks[name] for name in sorted(self.chunks) if name[0] == run}

    def verbs(self, run: int) -> list[tuple[str, str]]:
        """A run's changes of status: who, and to what."""
        return [
            (actor, _STATUSES[verb])
            for of, actor, verb in self.activity
            if of == run and verb in _STATUSES
        ]


def judge(before: Picture, now: Picture, began: Picture) -> None:
    """Check a COMMIT.

    Args:
        before: what was committed until then.
        now: what is committed with it.
        began: what was committed when its transaction began.

    Raises:
        AssertionError: it broke a rule.
    """
    for name, chunk in now.chunks.items():
        if before.chunks.get(name) != chunk:
            _moved(name, before, now)
            _claimed(name, before, now, began)
        elif now.failures[name] != before.failures[name]:
            raise AssertionError(f"a failure of {name} is on record that is not its owner's")
    gone = before.chunks.keys() - now.chunks.keys()
    assert not gone, f"chunks are gone: {gone}"
    for run in now.runs:
        _judge_run(run, before, now)
    stated = {name for name, one in now.chunks.items() if one.status is ChunkStatus.WAITING}
    assert now.waiting == stated, f"waiting {now.waiting}, but by their status {stated}"
    _once(now)


def _moved(name: Name, before: Picture, now: Picture) -> None:
    old, new = before.chunks.get(name), now.chunks[name]
    failed = now.failures[name] - before.failures[name]
    what = f"chunk {name}: {old} became {new}"
    owned = new.status is ChunkStatus.CARVED
    assert (new.owner is not None) == owned, f"{what}: owner"
    assert not owned or new.lane is not None, f"{what}: lane"
    if old is None:
        first = 1 if owned else 0
        assert new.attempt == first, f"{what}: the attempt is not on record"
        assert new.losses == new.snoozes == 0, what
        if name[2]:
            parent = now.chunks[name[0], name[1], name[2][:-1]]
            assert owned == (name[2][-1] == "a"), f"{what}: who shares keeps the lower half"
            assert parent.status is ChunkStatus.SPLIT, f"{what}: no half of it"
            if name[2][-1] in "ab":
                assert before.chunks[name[0], name[1], name[2][:-1]].attempt == 1, f"{what}: tried"
        else:
            assert owned, what
        return
    assert (old.after, old.upto) == (new.after, new.upto), f"{what}: bounds"
    if old.status is new.status is ChunkStatus.CARVED:
        _taken_over(name, before, now)
        return
    if old.status is new.status:
        assert old.status is ChunkStatus.WAITING, f"{what}: without any change of status"
        assert new.attempt == 0, f"{what}: neither tried nor as good as new"
        return
    assert new.status in CHUNK_ARROWS[old.status], f"{what}: there is no such arrow"
    match old.status, new.status:
        case ChunkStatus.WAITING, ChunkStatus.CARVED:
            assert new.attempt == old.attempt + 1, f"{what}: the attempt is not on record"
            assert (new.losses, new.snoozes) == (old.losses, old.snoozes), what
        case ChunkStatus.CARVED, ChunkStatus.WAITING:
            _given_back(what, old, new, failed)
        case _, ChunkStatus.WAITING:
            assert (new.attempt, new.losses, new.snoozes) == (0, 0, 0), what
            run = name[0]
            assert now.runs[run].round == before.runs[run].round + 1, f"{what}: in no new round"
        case _:
            assert new.attempt == old.attempt, what


def _taken_over(name: Name, before: Picture, now: Picture) -> None:
    """A lane takes what another has not begun, and that is never its lowest."""
    old, new = before.chunks[name], now.chunks[name]
    what = f"chunk {name}: {old} became {new}"
    assert replace(old, owner=new.owner, lane=new.lane) == new, f"{what}: more than its owner"
    assert old.lane != new.lane, f"{what}: by the same lane"
    assert now.runs[name[0]].exhausted, f"{what}: there is more to carve"
    held = [
        (other, one)
        for other, one in now.chunks_of(name[0]).items()
        if one.status is ChunkStatus.CARVED and one.lane == old.lane
    ]
    assert held, f"{what}: it has nothing in hand any more"
    assert held[0][0] < name, f"{what}: the lowest of its lane"


def _given_back(what: str, old: ChunkSeen, new: ChunkSeen, failed: int) -> None:
    lost, snoozed = new.losses - old.losses, new.snoozes - old.snoozes
    assert lost in (0, 1), what
    assert snoozed in (0, 1), what
    assert lost + snoozed + failed <= 1, f"{what}: more than one reason"
    spent = new.attempt - old.attempt + 1
    assert spent in (0, 1), f"{what}: attempts"
    assert not spent or failed, f"{what}: an attempt is spent and no failure on record"


def _claimed(name: Name, before: Picture, now: Picture, began: Picture) -> None:
    """Nobody takes work of a run that is being stopped, unless he asked before it was."""
    old, new = before.chunks.get(name), now.chunks[name]
    if new.status is ChunkStatus.CARVED and old != new and name[0] in began.runs:
        status = began.runs[name[0]].status
        assert status in WORKABLE, f"chunk {name} was claimed while its run was {status}"


def _judge_run(run: int, before: Picture, now: Picture) -> None:
    seen, verbs = now.runs[run], now.verbs(run)
    old = before.runs.get(run)
    chunks = now.chunks_of(run)
    what = f"run {run} {old} became {seen}"
    if old is not None:
        told = len(before.verbs(run))
        status = old.status
        for actor, verb in verbs[told:]:
            assert verb in RUN_ARROWS[status], f"{what}: no arrow from {status} to {verb} ({actor})"
            status = RunStatus(verb)
        assert status is seen.status, f"{what}: its activity says {status}"
        reopened = old.status in FINISHED and seen.status is RunStatus.RUNNING
        assert seen.round - old.round == int(reopened), f"{what}: rounds"
        assert seen.exhausted or not old.exhausted, f"{what}: exhausted no more"
    statuses = {one.status for one in chunks.values()}
    if seen.status in FINISHED or seen.status is RunStatus.FINISHING:
        assert not statuses & UNFINISHED_CHUNK, f"{what}: with {statuses}"
    if seen.status is RunStatus.PAUSED:
        assert ChunkStatus.CARVED not in statuses, f"{what}: with chunks in hand"
    if seen.status is RunStatus.HELD:
        assert _REASONS.match(seen.reason or ""), f"{what}: held without a good reason"
    if seen.status in (RunStatus.SUCCEEDED, RunStatus.PARTIAL):
        assert seen.exhausted, f"{what}: not all was carved"
        assert ChunkStatus.CANCELLED not in statuses, f"{what}: with cancelled chunks"
    if seen.status is RunStatus.SUCCEEDED:
        assert statuses <= {ChunkStatus.SUCCEEDED, ChunkStatus.SPLIT}, f"{what}: with {statuses}"
    _called(run, now, what)
    _tiled(run, seen, chunks, what)
    told_chunks, _ = now.tallies.get(run, (0, 0))
    done = [one for one in chunks.values() if one.status is ChunkStatus.SUCCEEDED]
    assert told_chunks <= len(done), f"{what}: lanes tell of {told_chunks} chunks, not {len(done)}"


def _called(run: int, now: Picture, what: str) -> None:
    calls = [(round_, name) for of, round_, name in now.calls if of == run]
    finished = Counter(round_ for round_, name in calls if name == "finished")
    assert set(finished.values()) <= {1}, f"{what}: called back twice in a round, {calls}"
    endings = sum(verb in FINISHED for _, verb in now.verbs(run))
    assert len(calls) <= endings, f"{what}: called back {calls} for {endings} endings"


def _tiled(run: int, seen: RunSeen, chunks: dict[Name, ChunkSeen], what: str) -> None:
    """Chunks cover the keys from the beginning on with no gap and no overlap."""
    edge: str | None = None
    for name, one in chunks.items():
        if one.status is ChunkStatus.SPLIT:
            ways = [[(run, name[1], name[2] + end) for end in ends] for ends in ("01", "ab")]
            whole = [all(half in chunks for half in halves) for halves in ways]
            assert sum(whole) == 1, f"{what}: no halves of {name}"
            continue
        assert one.after == edge, f"{what}: chunk {name} does not begin at {edge}: {one}"
        ahead = one.after is None or _key(one.after) < _key(one.upto)
        assert ahead, f"{what}: empty {name}: {one}"
        edge = one.upto
    if seen.exhausted:
        assert edge == seen.until, f"{what}: carved up to {edge} of {seen.until}"


def _once(now: Picture) -> None:
    times = Counter((run, crate) for run, crate, _, _ in now.marks)
    twice = [key for key, count in times.items() if count > 1]
    assert not twice, f"rows were done twice (run, key): {twice}"
    by_crate = Counter(crate for _, crate, _, _ in now.marks)
    for crate, version in now.crates.items():
        assert version == by_crate[crate], f"row {crate}: version {version}, {by_crate[crate]}"
    for run, crate, number, path in now.marks:
        chunk = now.chunks[run, number, path]
        assert chunk.status is ChunkStatus.SUCCEEDED, f"row {crate} is done, {chunk} is not"
        assert chunk.holds(crate), f"row {crate} was done in {chunk}"
    keys: defaultdict[int, set[int]] = defaultdict(set)
    for (run, number, path), key in now.quarantine.items():
        assert now.chunks[run, number, path].status is ChunkStatus.FAILED
        assert key not in keys[run], f"row {key} is in quarantine twice"
        keys[run].add(key)
        assert (run, key) not in times, f"row {key} is done and in quarantine"


def _key(encoded: str) -> int:
    (key,) = json.loads(encoded)
    return int(key)
