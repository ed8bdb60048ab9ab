"""What a scenario is: by whom it is demanded, and where a contestant is known not to meet it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from tests.outside.application import BREAKBULK, CELERY

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T", bound="Callable[..., None]")

#: Where the attribute of a test is kept that :func:`scenario` gives it.
ATTRIBUTE = "outside_scenario"


@dataclass(frozen=True)
class Scenario:
    """One scenario.

    Attributes:
        origin: where it comes from, as a heading of the result's page.
        demands: what must be so, in words of our own.
        fails: contestants that are known not to meet it, each with the reason.
        session: a part or the body of ours works in the run's own transaction.
    """

    origin: str
    demands: str
    fails: dict[str, str]
    session: bool


def scenario(
    origin: str,
    demands: str,
    *,
    celery: str = "",
    breakbulk: str = "",
    sampled: bool = False,
    session: bool = False,
) -> Callable[[T], T]:
    """Run a test against both contestants.

    Args:
        origin: where the scenario comes from.
        demands: what must be so.
        celery: why Celery's chord is known to fail; empty when it does not.
        breakbulk: likewise.
        sampled: Celery's chord is run through it in every test run, and not only when
            the marker ``outside`` is asked for.
        session: a part or the body of ours asks for the run's session, and so is exactly once.
    """
    fails = {name: why for name, why in ((CELERY, celery), (BREAKBULK, breakbulk)) if why}

    def contestant(name: str) -> Any:
        marks = []
        if name in fails:
            # Whoever gets it right after all is to be told so.
            marks.append(pytest.mark.xfail(reason=fails[name], strict=True, raises=AssertionError))
        if name == CELERY and not sampled:
            marks.append(pytest.mark.outside)
        return pytest.param(name, marks=marks)

    def declare(test: T) -> T:
        setattr(test, ATTRIBUTE, Scenario(origin, demands, fails, session))
        names = [contestant(name) for name in (CELERY, BREAKBULK)]
        marked: T = pytest.mark.parametrize("contestant", names, scope="session")(test)
        return marked

    return declare
