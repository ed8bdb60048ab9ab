"""The tallyman: who looks at the database from outside, at every COMMIT of every strand.

What he sees is a picture, and `tests.support.reckoning` has the rules. He knows besides which
attempt a strand is at, so that he can tell whether it was on record before its work began, and
whether it owned its chunk when it committed.
"""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import Engine

from breakbulk.domain.status import ChunkStatus, RunStatus
from tests.support.reckoning import ChunkSeen, Name, Picture, RunSeen, judge

if TYPE_CHECKING:
    from breakbulk import Chunk, FinishedRun
    from breakbulk.ledger.schema import Schema
    from tests.support.loom import Loom, Strand

_IN_HAND = "in hand"
_BEGAN = "began"


@dataclass(frozen=True, slots=True)
class InHand:
    """The attempt that a strand is at: by its chunk, owner and number."""

    name: Name
    owner: str
    attempt: int


class Tallyman:
    """Looks at the database after every COMMIT, and judges.

    Args:
        crates, marks, calls: names of the team's own tables.
    """

    def __init__(
        self, engine: Engine, schema: Schema, loom: Loom, *, crates: str, marks: str, calls: str
    ) -> None:
        self._engine = engine
        self._loom = loom
        self._connection = engine.connect()
        driver: Any = self._connection.connection.driver_connection
        driver.rollback()
        if engine.dialect.name == "postgresql":
            driver.autocommit = True
        self._driver = driver
        self._names = {
            name: getattr(schema, name).fullname
            for name in (
                *("runs", "chunks", "waiting", "carves", "activity", "tallies", "failures"),
                *("quarantine", "lanes"),
            )
        }
        self._crates, self._marks, self._calls = crates, marks, calls
        self.pictures = 0
        self.latest = self.look()

    def close(self) -> None:
        """Give the connection back as it was."""
        if self._engine.dialect.name == "postgresql":
            self._driver.autocommit = False
        self._connection.close()

    # What stops tell

    def statement(self, strand: Strand, words: str) -> None:
        """Remember what was committed when a transaction began."""
        if _BEGAN not in strand.notes:
            strand.notes[_BEGAN] = self.latest
        del words

    def after_commit(self, strand: Strand) -> None:
        """Look, and judge: an attempt that has committed owned its chunk.

        Not before: who has lost it may say COMMIT all the same, to a session that is gone.
        """
        hand: InHand | None = strand.notes.pop(_IN_HAND, None)
        began = strand.notes.pop(_BEGAN, self.latest)
        with self._noting():
            before, self.latest = self.latest, self.look()
            judge(before, self.latest, began)
            if hand is not None:
                chunk = before.chunks[hand.name]
                assert chunk.status is ChunkStatus.CARVED, f"{hand} committed {chunk}"
                assert chunk.owner == hand.owner, f"{hand} committed what is not its own: {chunk}"
                done = self.latest.chunks[hand.name].status
                assert done is ChunkStatus.SUCCEEDED, f"{hand} committed, and is {done}"

    def after_rollback(self, strand: Strand) -> None:
        """Nothing has happened."""
        strand.notes.pop(_IN_HAND, None)
        strand.notes.pop(_BEGAN, None)

    # What user code tells

    def begins(self, strand: Strand, chunk: Chunk[Any]) -> None:
        """An attempt is on record, committed, before its work begins."""
        claim = chunk._claim
        name = (int(claim.ref.run_id), claim.ref.number, claim.ref.path)
        hand = InHand(name, claim.owner.hex, claim.attempt)
        with self._noting():
            seen = self.latest.chunks.get(name)
            if seen is not None and seen.owner == hand.owner:
                assert seen.attempt == hand.attempt, f"{hand} is not on record: {seen}"
            else:
                assert seen is not None, f"{hand} was never committed"
        strand.notes[_IN_HAND] = hand

    def calls_back(self, run: FinishedRun) -> None:
        """So is a try at calling back."""
        with self._noting():
            seen = self.latest.runs[run.id]
            assert seen.finish_attempt >= run.attempt, f"{run.attempt} is not on record: {seen}"
            assert seen.status in {RunStatus.FINISHING, *_OVER}, seen

    def _noting(self) -> _Noting:
        return _Noting(self._loom)

    # Looking

    def look(self) -> Picture:
        """All that is committed now."""
        self.pictures += 1
        names, picture = self._names, Picture()
        for row in self._ask(
            "SELECT r.id, r.status, r.reason, r.round, r.until, r.finisher, r.finish_attempt,"
            f" r.callback_failed, c.exhausted_at IS NOT NULL FROM {names['runs']} r"
            f" JOIN {names['carves']} c ON c.run_id = r.id ORDER BY r.id"
        ):
            picture.runs[row[0]] = RunSeen(
                status=RunStatus(row[1]),
                reason=row[2],
                round=row[3],
                until=row[4],
                finisher=_token(row[5]),
                finish_attempt=row[6],
                callback_failed=bool(row[7]),
                exhausted=bool(row[8]),
            )
        for row in self._ask(
            "SELECT run_id, number, path, status, owner, lane, after, upto, rows, attempt, losses,"
            f" snoozes FROM {names['chunks']}"
        ):
            picture.chunks[row[:3]] = ChunkSeen(ChunkStatus(row[3]), _token(row[4]), *row[5:])
        picture.waiting = set(self._ask(f"SELECT run_id, number, path FROM {names['waiting']}"))
        picture.crates = dict(self._ask(f"SELECT id, version FROM {self._crates}"))
        picture.marks = self._ask(f"SELECT run, crate, number, path FROM {self._marks}")
        picture.calls = self._ask(f"SELECT run, round, name FROM {self._calls} ORDER BY id")
        picture.activity = self._ask(
            f"SELECT run_id, actor, verb FROM {names['activity']} ORDER BY id"
        )
        for run, chunks, rows in self._ask(
            f"SELECT run_id, SUM(chunks), SUM(rows) FROM {names['tallies']} GROUP BY run_id"
        ):
            picture.tallies[run] = (int(chunks), int(rows))
        for *name, count in self._ask(
            f"SELECT run_id, number, path, COUNT(*) FROM {names['failures']}"
            " WHERE number IS NOT NULL GROUP BY run_id, number, path"
        ):
            picture.failures[name[0], name[1], name[2]] = count
        for *name, key in self._ask(f"SELECT run_id, number, path, key FROM {names['quarantine']}"):
            picture.quarantine[name[0], name[1], name[2]] = int(key.strip("[]"))
        picture.lanes = Counter(row[0] for row in self._ask(f"SELECT run_id FROM {names['lanes']}"))
        return picture

    def _ask(self, query: str) -> list[Any]:
        with closing(self._driver.cursor()) as cursor:
            cursor.execute(query)
            return list(cursor.fetchall())


_OVER = (RunStatus.SUCCEEDED, RunStatus.PARTIAL, RunStatus.FAILED, RunStatus.CANCELLED)


class _Noting:
    """Keeps what is wrong for the loom: raised here, the product would take it for the job's."""

    def __init__(self, loom: Loom) -> None:
        self._loom = loom

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> bool:
        if isinstance(error, Exception):
            self._loom.mistakes.append(error)
            return True
        return False


def _token(value: object) -> str | None:
    if value is None:
        return None
    return value.hex if isinstance(value, UUID) else str(value)
