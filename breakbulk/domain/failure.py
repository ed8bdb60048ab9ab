"""An exception, written down so that it can be shown: bounded, printable, without secrets."""

from __future__ import annotations

import sysconfig
import traceback as tb
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from breakbulk.domain.retry import class_name, class_names

_MESSAGE_LIMIT = 2_000
_TRACEBACK_LIMIT = 16_000
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
        except Exception as unprintable:  # noqa: BLE001  (user code; any error will do)
            message = f"(its message cannot be printed: {type(unprintable).__name__})"
        try:
            lines = "".join(tb.format_exception(error, limit=40))
        except Exception:  # noqa: BLE001  (the same)
            lines = "".join(tb.format_tb(error.__traceback__, limit=40))
        return cls(
            class_name(type(error)),
            _clean(message, _MESSAGE_LIMIT),
            _clean(lines, _TRACEBACK_LIMIT),
            _place(error.__traceback__),
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
        if not str(Path(code.co_filename).resolve()).startswith(_ELSEWHERE):
            own = found
    return own or found


def _clean(text: str, limit: int) -> str:
    # NUL cannot be stored as text, a lone surrogate cannot be encoded.
    text = text.replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode("utf-8")
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n… {len(text) - limit} characters left out …\n{text[-half:]}"
