"""What a look at an installation turns up: one thing, how bad it is, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    ERROR = "error"


class Subject(StrEnum):
    """What a finding is about."""

    DATABASE = "database"
    SCHEMA = "schema"
    BROKER = "broker"
    WORKERS = "workers"
    RUNS = "runs"
    JOBS = "jobs"
    SETTINGS = "settings"


#: Without these nothing works at all, which has an exit code of its own.
FOUNDATIONS = frozenset({Subject.DATABASE, Subject.SCHEMA, Subject.BROKER})


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding.

    Attributes:
        what: what was seen, in one sentence.
        remedy: what to do; empty where nothing is to be done.
    """

    severity: Severity
    subject: Subject
    what: str
    remedy: str = ""

    @property
    def foundational(self) -> bool:
        """Whether nothing works before this is put right."""
        return self.severity is Severity.ERROR and self.subject in FOUNDATIONS

    def as_dict(self) -> dict[str, str]:
        """As JSON values."""
        return {
            "severity": str(self.severity),
            "subject": str(self.subject),
            "what": self.what,
            "remedy": self.remedy,
        }
