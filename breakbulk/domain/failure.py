"""An exception, written down so that it can be shown: bounded, printable, without secrets."""

from __future__ import annotations

import sysconfig
import traceback as tb
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import TracebackType

from breakbulk.domain.retry import class_name, class_names
from breakbulk.domain.storable import storable

_NAME_LIMIT = 200
_MESSAGE_LIMIT = 2_000
_TRACEBACK_LIMIT = 16_000
#: The innermost lines: those further out are Celery's and ours.
_FRAMES = -40
# Libraries, Python's own and ourselves: an error is looked for in the team's code.
_ELSEWHERE = tuple(
    {
        *(
            str(Path(sysconfig.get_path(name)).resolve())
            for name in ("stdlib", "purelib", "platlib")
        ),
        str(Path(__file__).resolve().parents[1]),
    }
)


@dataclass(frozen=True, slots=True)
class Failure:
    """What is kept of an exception. Local variables are not: they may hold secrets.

    Attributes:
        error: the name of its class.
        place: where in the team's code it was raised: ``jobs.py:31 in process``.
        kinds: the names of its class and of those above; empty when there was no exception,
            because the process died.
    """

    error: str
    message: str
    traceback: str | None
    place: str | None = None
    kinds: tuple[str, ...] = ()

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """Describe an exception, even one whose own ``str`` fails."""
        try:
            message = str(error)
        except BaseException as unprintable:  # noqa: BLE001  (user code: it may raise anything)
            message = f"(its message cannot be printed: {type(unprintable).__name__})"
        try:
            lines = "".join(tb.format_exception(error, limit=_FRAMES))
        except BaseException:  # noqa: BLE001  (the same)
            lines = "".join(tb.format_tb(error.__traceback__, limit=_FRAMES))
        place = _place(error.__traceback__)
        return cls(
            storable(class_name(type(error)), _NAME_LIMIT),
            storable(message, _MESSAGE_LIMIT),
            storable(lines, _TRACEBACK_LIMIT),
            None if place is None else storable(place, _NAME_LIMIT),
            class_names(error),
        )

    @classmethod
    def of_death(cls, why: str) -> Failure:
        """The attempt that died with its process."""
        return cls("WorkerDied", why, None)

    @classmethod
    def of_timeout(cls, seconds: float | None) -> Failure:
        """The attempt that took too long."""
        limit = "" if seconds is None else f" chunk_timeout={seconds:g} s"
        return cls("ChunkTimeout", f"took longer than{limit}", None)

    def __str__(self) -> str:
        first = self.message.partition("\n")[0]
        return f"{self.error}: {first[:200]}" if first else self.error


def _place(trace: TracebackType | None) -> str | None:
    """The innermost line of the team's code, or of whatever code there is."""
    found = None
    own = None
    # Line by line, without reading any source.
    for frame, number in tb.walk_tb(trace):
        code = frame.f_code
        found = f"{Path(code.co_filename).name}:{number} in {code.co_name}"
        if not _is_elsewhere(code.co_filename):
            own = found
    return own or found


@lru_cache(maxsize=1024)
def _is_elsewhere(filename: str) -> bool:
    # A recursion has a thousand lines in one file, and the system has to be asked for each name.
    return str(Path(filename).resolve()).startswith(_ELSEWHERE)
