"""Sentry, where an application has it: whatever is reported says which run and chunk it is of.

Nothing is reported here. Sentry makes an event of every log record of an error, and of whatever
user code reports itself; these have the tags and the name of the job then. So nothing has to be
set up, and it costs nothing as long as nothing fails.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from breakbulk.runner.whereabouts import whereabouts

if TYPE_CHECKING:
    from sentry_sdk.types import Event, Hint

_attached: list[bool] = []


def attach() -> None:
    """Have events say where they are from, if Sentry is there and does not yet."""
    if _attached or "sentry_sdk" not in sys.modules:
        return
    from sentry_sdk.scope import add_global_event_processor

    _attached.append(True)
    add_global_event_processor(place)


def place(event: Event, _hint: Hint) -> Event:
    """Say in an event which run, chunk, attempt and lane it is of."""
    known = whereabouts()
    if not known or event.get("type") == "transaction":
        return event
    # What the record of a failed chunk says: by then it is no longer at work.
    said = event.get("extra", {})
    known.update({name: str(said[name]) for name in ("chunk", "attempt") if name in said})
    tags = event.setdefault("tags", {})
    for name, value in known.items():
        tags.setdefault(f"breakbulk.{name}", str(value))
    # Not "breakbulk.lane", in which all jobs would look alike.
    event["transaction"] = str(known["job"])
    return event
