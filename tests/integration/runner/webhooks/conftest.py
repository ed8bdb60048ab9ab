"""A yard that may post to this machine, a receiver outside, and a sender."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.posting import Post
from tests.support.receiver import Receiver, receiver
from tests.support.yard import Yard

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

_ROWS = 25


@pytest.fixture
def yard(clean_engine: Engine) -> Iterator[Yard]:
    """A yard that may post to this machine."""
    yard = Yard(clean_engine, rows=_ROWS, shared=True, webhook_allow="127.0.0.1 hooks.test")
    yield yard
    yard.close()


@pytest.fixture
def outside() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


@pytest.fixture
def sends(yard: Yard) -> Post:
    return Post(yard)
