"""Tokens of machines in the ledger: who is let in with them, and for how long."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from breakbulk.errors import TokenError
from tests.support.plans import plan_of
from tests.support.yard import statements, together

if TYPE_CHECKING:
    from tests.support.yard import Yard


def shift(yard: Yard, column: str, seconds: int) -> None:
    """Let a token's time have come that much earlier."""
    table = yard.ledger.database.schema.tokens.fullname
    moved = (
        f"{column} - interval '{seconds} seconds'"
        if yard.engine.dialect.name == "postgresql"
        else f"strftime('%Y-%m-%d %H:%M:%f', {column}, '-{seconds} seconds')"
    )
    with yard.engine.begin() as connection:
        connection.execute(text(f"UPDATE {table} SET {column} = {moved}"))


def test_a_token_is_known_again(yard: Yard) -> None:
    made = yard.bulk.tokens.create("ci", can="operate", by="ana")
    found = yard.bulk.tokens.check(made.text)
    assert found is not None
    assert (found.name, found.can, found.created_by) == ("ci", "operate", "ana")
    assert (found.expires_at, found.revoked_at) == (None, None)


def test_its_secret_is_not_kept(yard: Yard) -> None:
    made = yard.bulk.tokens.create("ci")
    secret = made.text.rpartition("_")[2]
    assert secret not in str(yard.rows_of("tokens"))
    assert secret not in str([one.as_dict() for one in yard.bulk.tokens.all()])


def test_another_secret_lets_nobody_in(yard: Yard) -> None:
    made = yard.bulk.tokens.create("ci").text
    other = yard.bulk.tokens.create("other").text
    swapped = made.rpartition("_")[0] + "_" + other.rpartition("_")[2]
    last = "a" if made[-1] != "a" else "b"
    for wrong in (swapped, made[:-1] + last, made.replace("bbk_1_", "bbk_999_"), "bbk_1_", ""):
        assert yard.bulk.tokens.check(wrong) is None


def test_a_revoked_one_lets_nobody_in_from_that_moment_on(yard: Yard) -> None:
    made = yard.bulk.tokens.create("ci").text
    assert yard.bulk.tokens.revoke("ci").revoked_at is not None
    assert yard.bulk.tokens.check(made) is None
    with pytest.raises(TokenError, match="no token named 'ci' that is not revoked already"):
        yard.bulk.tokens.revoke("ci")
    again = yard.bulk.tokens.create("ci").text
    assert yard.bulk.tokens.check(again) is not None
    assert yard.bulk.tokens.check(made) is None
    assert [one.name for one in yard.bulk.tokens.all()] == ["ci", "ci"]


def test_one_that_has_expired_lets_nobody_in(yard: Yard) -> None:
    made = yard.bulk.tokens.create("ci", lasts=timedelta(hours=1)).text
    assert yard.bulk.tokens.check(made) is not None
    shift(yard, "expires_at", 3_590)
    assert yard.bulk.tokens.check(made) is not None
    shift(yard, "expires_at", 11)
    assert yard.bulk.tokens.check(made) is None


def test_its_use_is_written_down_once_a_minute(yard: Yard) -> None:
    made = yard.bulk.tokens.create("ci").text
    assert yard.bulk.tokens.all()[0].last_used_at is None
    counts = []
    for earlier in (0, 50, 11):
        if earlier:
            shift(yard, "last_used_at", earlier)
        with statements(yard.engine) as seen:
            assert yard.bulk.tokens.check(made) is not None
        counts.append(sum(one.startswith("UPDATE") for one in seen))
    assert counts == [1, 0, 1]
    assert yard.bulk.tokens.all()[0].last_used_at is not None


def test_whoever_only_looks_does_not_wait_for_sqlites_writer(sqlite_yard: Yard) -> None:
    yard = sqlite_yard
    made = yard.bulk.tokens.create("ci").text
    with yard.transaction():
        (found,) = together(lambda: yard.bulk.tokens.check(made))
    assert found.name == "ci"
    assert yard.bulk.tokens.all()[0].last_used_at is None


def test_of_several_that_take_a_name_at_once_one_gets_it(yard: Yard) -> None:
    made = together(*[lambda: yard.bulk.tokens.create("ci")] * 4)
    refused = [one for one in made if isinstance(one, TokenError)]
    assert len(refused) == 3, made
    assert "There is a token named 'ci' already" in str(refused[0])
    assert len(yard.bulk.tokens.all()) == 1


@pytest.mark.parametrize(
    ("name", "can", "lasts", "sentence"),
    [
        ("", "view", None, "text of 1 to 100 characters"),
        ("  ", "view", None, "text of 1 to 100 characters"),
        ("a\nb", "view", None, "text of 1 to 100 characters"),
        ("a" * 101, "view", None, "text of 1 to 100 characters"),
        ("ci", "rule", None, "can 'view' or 'operate', not 'rule'"),
        ("ci", "view", timedelta(0), "longer than no time"),
        ("ci", "view", timedelta(days=40_000), "at most a hundred years"),
    ],
)
def test_what_cannot_be_is_refused(
    sqlite_yard: Yard, name: str, can: str, lasts: timedelta | None, sentence: str
) -> None:
    with pytest.raises(TokenError, match=sentence):
        sqlite_yard.bulk.tokens.create(name, can=can, lasts=lasts)
    assert sqlite_yard.bulk.tokens.all() == []


def test_it_is_looked_up_by_its_key_in_one_statement(yard: Yard) -> None:
    made = yard.bulk.tokens.create("ci")
    with yard.engine.begin() as connection:
        table = yard.ledger.database.schema.tokens.fullname
        connection.execute(
            text(
                "WITH RECURSIVE numbers (n) AS"
                " (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 2000)"
                f" INSERT INTO {table} (name, can, digest, created_at, created_by)"
                f" SELECT 'n' || n, 'view', '', created_at, 'x' FROM {table}, numbers"
            )
        )
    with yard.engine.connect() as connection:
        options = connection.execution_options(isolation_level="AUTOCOMMIT")
        options.execute(text(f"ANALYZE {table}"))
    (plan,) = plan_of(yard, lambda connection: yard.ledger.tokens.find(connection, made.token.id))
    by_key = ("Index Scan using pk_tokens", "USING INTEGER PRIMARY KEY")
    assert any(way in plan for way in by_key), plan
