"""What people call the pieces of a run: chunks of rows, or the parts of a canvas.

The one place that knows. Whatever is said of a run, in a stored reason, a log line, on a page or
on the command line, takes its words from here, so that who has written a group reads of parts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: What the ledger calls the job behind every group, chord and chain.
CANVAS_JOB: Final = "celery.canvas"


@dataclass(frozen=True, slots=True)
class Nouns:
    """The words for one kind of run, in the singular; an s makes the plural of each.

    Attributes:
        chunk: what is worked on at once.
        row: what it consists of.
        item: what an iterable gives.
        source: where all of them come from.
        callback: what is called at the end.
        submit: what somebody does who wants it again.
    """

    chunk: str
    row: str
    item: str
    source: str
    callback: str
    submit: str

    @property
    def alike(self) -> bool:
        """Whether a chunk is one row, so that one count says it all."""
        return self.chunk == self.row

    def done(self, chunks: int, rows: int) -> str:
        """``2 chunks, 3 rows``, or ``3 parts``: what a lane has done."""
        counts = ((rows, self.row),) if self.alike else ((chunks, self.chunk), (rows, self.row))
        return ", ".join(f"{count} {noun}{'' if count == 1 else 's'}" for count, noun in counts)


CHUNKS: Final = Nouns("chunk", "row", "item", "source", "callback", "submit its job")
PARTS: Final = Nouns("part", "part", "part", "header", "body", "apply the canvas")


def nouns_of(job: str) -> Nouns:
    """The words for runs of a job."""
    return PARTS if job == CANVAS_JOB else CHUNKS
