"""The end of the show: what ``finished`` wrote, both proofs, and the figures."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine

from breakbulk import RunHandle
from breakbulk.console import exits, words
from breakbulk.demo.proofs import NOTICES, Proof, by_ledger, by_sql, notices
from breakbulk.demo.screen import Screen
from breakbulk.domain.run import Run
from breakbulk.domain.status import RunStatus


def finale(engine: Engine, handle: RunHandle, screen: Screen, figures: dict[str, float]) -> int:
    """Show how the run ended, prove it if it succeeded; what to exit with."""
    run = handle.record()
    code = exits.exit_code_of(run.status)
    result: dict[str, Any] = {"run": run.id, "status": str(run.status), "reason": run.reason}
    if run.summary is not None:
        rate = run.summary.rows_done / max(run.summary.seconds, 0.001)
        result |= run.summary.as_dict() | {"rows_per_second": round(rate)}
    people = [words.ending(run, handle.progress()), *_rescues(handle)]
    if run.status is RunStatus.SUCCEEDED:
        written = notices(engine, run.id)
        ledger = by_ledger(handle)
        with engine.connect() as connection:
            sql = by_sql(connection, run.idempotency_key)
        if not (ledger.holds and (sql is None or sql.holds) and len(written) == 1):
            code = exits.ERROR
        result |= {"notices": written, "audit": ledger.as_dict()}
        result |= {"sql": None if sql is None else sql.as_dict()}
        people += _called_back(run, written)
        people += _proof("First proof, from the ledger: do the chunks tile the keys?", ledger)
        if sql is None:
            people += ["", "No second proof: what to expect was not written down before the run."]
        else:
            people += _proof("Second proof, from the warehouse alone; ask it yourself:", sql)
        people += ["", _verdict(code)]
    screen.say("result", "\n".join(people), **result, **figures, exit_code=code)
    return code


def _rescues(handle: RunHandle) -> list[str]:
    """What the steward did about workers that were lost."""
    return [f"  {note.detail}" for note in reversed(handle.activity()) if note.verb == "rescued"]


def _called_back(run: Run, written: list[str]) -> list[str]:
    times = "once" if len(written) == 1 else f"{len(written)} times, not once"
    question = NOTICES.replace(":run", str(run.id))
    return ["", f"finished() was called {times}:", f"  {question}", *(f"  → {n}" for n in written)]


def _proof(title: str, proof: Proof) -> list[str]:
    lines = ["", title, f"  {proof.question}", *(f"  → {line}" for line in proof.answer)]
    lines += [f"  ({note})" for note in proof.notes]
    return lines + [f"  WRONG: {finding}" for finding in proof.findings]


def _verdict(code: int) -> str:
    if code == exits.SUCCEEDED:
        return "Each product was processed exactly once."
    return "Not proven: see what is marked WRONG above."
