"""An exception, written down so that it can be shown: bounded, printable, without secrets."""

from __future__ import annotations

import traceback as tb
from dataclasses import dataclass

_MESSAGE_LIMIT = 2_000
_TRACEBACK_LIMIT = 16_000


@dataclass(frozen=True, slots=True)
class Failure:
    """What is kept of an exception. Local variables are not: they may hold secrets."""

    error: str
    message: str
    traceback: str | None

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """Describe an exception, even one whose own ``str`` fails."""
        try:
            message = str(error)
        except Exception as unprintable:  # noqa: BLE001  (user code; any error will do)
            message = f"(its message cannot be printed: {type(unprintable).__name__})"
        kind = type(error)
        name = (
            kind.__qualname__
            if kind.__module__ == "builtins"
            else (f"{kind.__module__}.{kind.__qualname__}")
        )
        try:
            lines = "".join(tb.format_exception(error, limit=40))
        except Exception:  # noqa: BLE001  (the same)
            lines = "".join(tb.format_tb(error.__traceback__, limit=40))
        return cls(name, _clean(message, _MESSAGE_LIMIT), _clean(lines, _TRACEBACK_LIMIT))

    @classmethod
    def of_death(cls, why: str) -> Failure:
        """The attempt that died with its process."""
        return cls("WorkerDied", why, None)

    def __str__(self) -> str:
        first = self.message.partition("\n")[0]
        return f"{self.error}: {first[:200]}" if first else self.error


def _clean(text: str, limit: int) -> str:
    # NUL cannot be stored as text, a lone surrogate cannot be encoded.
    text = text.replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode("utf-8")
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n… {len(text) - limit} characters left out …\n{text[-half:]}"
