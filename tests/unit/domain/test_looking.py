from __future__ import annotations

import pytest

from breakbulk.domain.looking import pause_after

_LONGEST = 0.2


def _looks(seconds: float) -> list[float]:
    """When somebody looks who waits for so long."""
    at = [0.0]
    while at[-1] < seconds:
        at.append(at[-1] + pause_after(at[-1], _LONGEST))
    return at


def test_what_is_short_is_noticed_at_once() -> None:
    assert pause_after(0.0, _LONGEST) == 0.01


@pytest.mark.parametrize("ends_at", [0.5, 2.0, 5.0, 60.0, 3600.0])
def test_an_end_is_noticed_late_by_a_small_part_of_the_whole(ends_at: float) -> None:
    late = _looks(ends_at)[-1] - ends_at
    assert late <= min(_LONGEST, max(0.01, 0.02 * ends_at))


def test_a_long_wait_costs_no_more_than_five_looks_a_second() -> None:
    assert pause_after(3600.0, _LONGEST) == _LONGEST
    assert len(_looks(60.0)) <= 60 * 5 + 200


def test_no_pause_is_longer_than_it_may_be() -> None:
    assert pause_after(0.0, 0.001) == 0.001
