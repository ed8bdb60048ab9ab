"""Two proofs that each product was processed exactly once, which have nothing in common.

One asks Breakbulk's ledger whether the chunks tile the key range. The other asks the warehouse
alone, in plain SQL that anybody can repeat in psql.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, Engine, text

from breakbulk import RunHandle

COUNT = "SELECT version, count(*) FROM breakbulk_demo_product GROUP BY version ORDER BY version"
WRONG = (
    "SELECT id, name, version FROM breakbulk_demo_product"
    " WHERE version <> :version ORDER BY id LIMIT 5"
)
EXPECTED = "SELECT products, version FROM breakbulk_demo_expectation WHERE key = :key"
NOTICES = "SELECT text FROM breakbulk_demo_notice WHERE run_id = :run ORDER BY id"


@dataclass(frozen=True, slots=True)
class Proof:
    """What a proof came to.

    Attributes:
        question: what was asked; for the second proof the statement itself.
        answer: what was answered, in lines.
        findings: one sentence for each thing that is wrong.
        notes: what is no fault but good to know.
    """

    question: str
    answer: tuple[str, ...]
    findings: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {"holds": self.holds, **asdict(self)}


def by_ledger(run: RunHandle) -> Proof:
    """Ask the ledger, as ``breakbulk audit`` does."""
    audit = run.audit()
    counted = audit.counted
    answer = f"{counted.chunks_done:,} chunks with {counted.rows_done:,} products succeeded"
    if counted.chunks_failed:
        answer += f", {counted.chunks_failed:,} with {counted.rows_failed:,} failed"
    return Proof(f"breakbulk audit {run.id}", (answer,), audit.findings, audit.notes)


def by_sql(connection: Connection, key: str | None) -> Proof | None:
    """Ask the warehouse, without any of Breakbulk's code.

    Args:
        key: of the expectation that was written down before the run; where there is none,
            nothing can be proven in this way.
    """
    expected = connection.execute(text(EXPECTED), {"key": key}).one_or_none()
    if expected is None:
        return None
    products, version = expected
    answer = connection.execute(text(COUNT)).all()
    wrong = connection.execute(text(WRONG), {"version": version}).all()
    lines = tuple(f"version {found}: {count:,} products" for found, count in answer)
    findings = [_sentence(row.id, row.name, row.version - version) for row in wrong]
    others = sum(count for found, count in answer if found != version) - len(wrong)
    if others:
        findings.append(f"{others:,} more products were not processed exactly once")
    if missing := products - sum(count for _, count in answer):
        what = "are missing" if missing > 0 else "too many are there"
        findings.append(f"{abs(missing):,} of {products:,} products {what}")
    note = f"before this run, each of {products:,} products had version {version - 1}"
    return Proof(COUNT, lines, tuple(findings), (note,))


def notices(engine: Engine, run_id: int) -> list[str]:
    """What the run's ``finished`` wrote: one notice, if it was called back once."""
    with engine.connect() as connection:
        return list(connection.execute(text(NOTICES), {"run": run_id}).scalars())


def _sentence(product: int, name: str, surplus: int) -> str:
    times = {-1: "not processed", 1: "processed twice"}.get(surplus)
    times = times or (f"processed {surplus + 1} times" if surplus > 0 else "set back")
    return f"product {product} ({name}) was {times}"
