"""Tokens as text: one shape, and nothing else is taken for one."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from breakbulk.domain.token import (
    IssuedToken,
    Token,
    digest_of,
    draw_secret,
    read_token,
    write_token,
)

SECRET = "a1B2" * 10


def test_what_is_written_is_read_again() -> None:
    drawn = draw_secret()
    text = write_token(12, drawn)
    assert re.fullmatch(r"bbk_12_[A-Za-z0-9]{40}", text)
    assert read_token(text) == (12, drawn)


def test_no_two_secrets_are_alike() -> None:
    assert len({draw_secret() for _ in range(1_000)}) == 1_000


@pytest.mark.parametrize(
    "text",
    [
        "",
        "bbk_",
        f"bbk_0_{SECRET}",
        f"bbk_012_{SECRET}",
        f"bbk_-1_{SECRET}",
        f"bbk_{'9' * 19}_{SECRET}",
        f"bbk_1_{SECRET}x",
        f"bbk_1_{SECRET[1:]}",
        f"bbk_1_{SECRET[1:]}_",
        f"bbk_1_{SECRET}\n",
        f"bbk_\u0661_{SECRET}",
        f"xbbk_1_{SECRET}",
    ],
)
def test_nothing_else_is_a_token(text: str) -> None:
    assert read_token(text) is None


def test_what_is_kept_does_not_hold_the_secret() -> None:
    assert SECRET not in digest_of(SECRET)
    token = Token(1, "ci", "view", datetime.now(UTC), "ana", None, None, None)
    assert SECRET not in repr(IssuedToken(token, write_token(1, SECRET)))
    assert token.as_dict()["expires_at"] is None
