"""What one attempt at a part leaves for the next one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

from kombu.utils.json import dumps, loads


@dataclass(frozen=True, slots=True)
class State:
    """How far a part has come.

    Attributes:
        step: the one that is to be called, from 0.
        value: what the step before has returned.
        retries: what its ``request.retries`` is.
        args: what it is called with instead of what its signature says; None: that.
        kwargs: likewise.
        limits: time limits that its last retry has named.
        outgoing: signatures of steps that are done, as text.
    """

    step: int = 0
    value: Any = None
    retries: int = 0
    args: tuple[Any, ...] | None = None
    kwargs: dict[str, Any] | None = None
    limits: dict[str, float] = field(default_factory=dict)
    outgoing: tuple[str, ...] = ()

    @classmethod
    def read(cls, text: str | None) -> Self:
        """From what the ledger has; of a first attempt it has nothing."""
        if text is None:
            return cls()
        values: dict[str, Any] = loads(text)
        for name in ("args", "outgoing"):
            if values.get(name) is not None:
                values[name] = tuple(values[name])
        return cls(**values)

    def write(self) -> str:
        """As JSON text.

        Raises:
            TypeError: it has a value that Celery's JSON serializer does not know.
        """
        return str(dumps({name: getattr(self, name) for name in self.__dataclass_fields__}))
