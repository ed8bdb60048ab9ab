"""Tokens of machines: made, looked up by their id, revoked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, and_, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from breakbulk.domain.token import Token
from breakbulk.ledger.database import Database
from breakbulk.ledger.sql import clock

#: Seconds: no token's use is written down more often.
_USED_EVERY = 60


@dataclass(frozen=True, slots=True)
class Found:
    """A token that is neither revoked nor too old.

    Attributes:
        digest: what its secret has to come to.
        due: its use is to be written down again.
    """

    token: Token
    digest: str
    due: bool


class Tokens:
    """The tokens of one ledger. Every method works on the caller's connection."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def insert(
        self,
        connection: Connection,
        *,
        name: str,
        can: str,
        digest: str,
        created_by: str,
        lasts: float | None,
    ) -> Token | None:
        """Write a token down; None when another one has the name that is not revoked.

        Args:
            lasts: for how many seconds; None for ever.
        """
        tokens = self._database.schema.tokens
        dialect = postgresql if self._database.is_postgresql else sqlite
        statement = dialect.insert(tokens).values(
            name=name,
            can=can,
            digest=digest,
            created_at=clock(),
            created_by=created_by,
            expires_at=None if lasts is None else clock(lasts),
        )
        returned = [tokens.c[column] for column in Token.__dataclass_fields__]
        row = connection.execute(
            statement.on_conflict_do_nothing().returning(*returned)
        ).one_or_none()
        return None if row is None else _token(row)

    def find(self, connection: Connection, token_id: int) -> Found | None:
        """The token of that id, if it may be used: one row, by its primary key."""
        tokens = self._database.schema.tokens
        due = or_(tokens.c.last_used_at.is_(None), tokens.c.last_used_at < clock(-_USED_EVERY))
        query = select(tokens, due.label("due")).where(
            tokens.c.id == token_id,
            tokens.c.revoked_at.is_(None),
            or_(tokens.c.expires_at.is_(None), tokens.c.expires_at > clock()),
        )
        row = connection.execute(query).one_or_none()
        return None if row is None else Found(_token(row), row.digest, bool(row.due))

    def used(self, connection: Connection, token_id: int) -> None:
        """Write down that it was used."""
        tokens = self._database.schema.tokens
        connection.execute(
            update(tokens).where(tokens.c.id == token_id).values(last_used_at=clock())
        )

    def all(self, connection: Connection) -> list[Token]:
        """All of them, newest first."""
        tokens = self._database.schema.tokens
        return [
            _token(row) for row in connection.execute(select(tokens).order_by(tokens.c.id.desc()))
        ]

    def revoke(self, connection: Connection, name: str) -> Token | None:
        """Let nobody in with it any more; None when there is none of that name."""
        tokens = self._database.schema.tokens
        statement = (
            update(tokens)
            .where(and_(tokens.c.name == name, tokens.c.revoked_at.is_(None)))
            .values(revoked_at=clock())
            .returning(*(tokens.c[column] for column in Token.__dataclass_fields__))
        )
        row = connection.execute(statement).one_or_none()
        return None if row is None else _token(row)


def _token(row: Row[Any]) -> Token:
    return Token(*(getattr(row, column) for column in Token.__dataclass_fields__))
