"""``breakbulk token``: shown once, listed without what is secret, revoked."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.testing import Result

    from tests.unit.cli.conftest import Shop

_TOKEN = re.compile(r"bbk_1_[A-Za-z0-9]{40}\n")


def test_a_token_is_printed_alone_so_that_it_can_be_piped(shop: Shop) -> None:
    shop.open()
    made = shop("token", "create", "ci", "--can", "operate", "--expires", "90d")
    assert _TOKEN.fullmatch(made.stdout)
    assert re.match(r"ci can operate until \S.*Keep it now: it cannot be shown again", made.stderr)
    listed = shop("token", "list").stdout
    assert "ci" in listed
    assert "operate" in listed
    assert made.stdout.strip() not in listed


def test_a_token_without_an_end(shop: Shop) -> None:
    shop.open()
    assert "ci can view until it is revoked." in shop("token", "create", "ci").stderr


def test_tokens_as_json(shop: Shop) -> None:
    shop.open()
    made = shop.json("token", "create", "ci", "--expires", "12h")
    assert _TOKEN.fullmatch(made.pop("token") + "\n")
    assert shop.json("token", "list") == {"tokens": [made]}
    gone = shop.json("token", "revoke", "ci")
    assert gone["revoked_at"] is not None
    assert shop.json("token", "list") == {"tokens": [gone]}


def test_revoked(shop: Shop, refused: Callable[[Result, int], str]) -> None:
    shop.open()
    assert "token create NAME" in shop("token", "list").stdout
    shop("token", "create", "ci")
    assert refused(shop("token", "create", "ci"), 2).startswith("There is a token named 'ci'")
    assert shop("token", "revoke", "ci").stdout.startswith("The token ci is revoked")
    assert refused(shop("token", "revoke", "ci"), 2).startswith("There is no token named 'ci'")


@pytest.mark.parametrize("time", ["90", "0d", "d", "-1d", "1.5d", "3 months", "9999999d"])
def test_a_time_that_is_none(shop: Shop, time: str) -> None:
    shop.open()
    made = shop("token", "create", "ci", f"--expires={time}")
    assert made.exit_code == 2
    assert "is no time as in 12h, 90d or 8w" in made.stderr
    assert shop.json("token", "list") == {"tokens": []}
