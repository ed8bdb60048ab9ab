"""What a demo says at its end of what happened on the way."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from breakbulk.demo import finale


def test_what_was_given_back_is_told_in_the_order_it_happened() -> None:
    notes = [
        SimpleNamespace(verb="rescued", detail="lane 1: worker 12 on here died"),
        SimpleNamespace(verb="paused", detail=None),
        SimpleNamespace(verb="rescued", detail="lane 0: worker 11 on here died"),
    ]
    handle = SimpleNamespace(activity=lambda: notes)
    assert finale._rescues(cast("Any", handle)) == [
        "  lane 0: worker 11 on here died",
        "  lane 1: worker 12 on here died",
    ]
