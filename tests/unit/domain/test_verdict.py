from __future__ import annotations

import pytest

from breakbulk.domain.verdict import STATE_LIMIT, Again, Hopeless, Kept, LeftOut


@pytest.mark.parametrize("seconds", [-1, -0.001, float("nan"), float("inf")])
def test_again_is_never_in_the_past_and_comes(seconds: float) -> None:
    with pytest.raises(ValueError, match="from 0 up"):
        Again(seconds, ValueError())


def test_a_state_is_bounded() -> None:
    assert Again(0, ValueError(), "x" * STATE_LIMIT).state is not None
    with pytest.raises(ValueError, match=f"{STATE_LIMIT + 1} characters"):
        Again(0, ValueError(), "x" * (STATE_LIMIT + 1))


def test_they_say_what_they_were_given() -> None:
    cause = ValueError("no")
    again = Again(5, cause, "{}")
    assert (again.seconds, again.cause, again.state) == (5.0, cause, "{}")
    hopeless = Hopeless(cause, outgoing=(text for text in ("a", "b")))
    assert (hopeless.cause, hopeless.outgoing) == (cause, ("a", "b"))
    assert LeftOut("nobody wants it").why == "nobody wants it"
    assert Kept() == Kept(None, ())
