"""Tokens of machines, as an application hands them out and takes them back."""

from __future__ import annotations

import hmac
from datetime import timedelta

from breakbulk.app.handle import who
from breakbulk.domain.token import (
    IssuedToken,
    Token,
    digest_of,
    draw_secret,
    read_token,
    write_token,
)
from breakbulk.errors import TokenError
from breakbulk.ledger.faults import translated
from breakbulk.runner.runtime import Runtime

_RIGHTS = ("view", "operate")
_LONGEST_NAME = 100
#: Nobody plans further ahead, and databases cannot count for ever.
_LONGEST_LIFE = timedelta(days=36_500)
#: What the secret of a token that is not there is compared with, so that this takes as long.
_NOBODYS = digest_of("")


class Tokens:
    """The tokens by which machines are known to the REST API."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def create(
        self,
        name: str,
        *,
        can: str = "view",
        lasts: timedelta | None = None,
        by: str | None = None,
    ) -> IssuedToken:
        """Make a token. Its text is told here and nowhere else.

        Args:
            name: stands in the activity of runs beside what is done with it.
            can: ``"view"`` to look, ``"operate"`` to start, pause, cancel and retry, too.
            lasts: how long it may be used; None for ever.
            by: who makes it; default the operating system's user and host.

        Raises:
            TokenError: it cannot be made like that, or another one has the name.
        """
        if not name.strip() or not name.isprintable() or len(name) > _LONGEST_NAME:
            raise TokenError(
                f"A token's name is text of 1 to {_LONGEST_NAME} characters, not {name!r}."
            )
        if can not in _RIGHTS:
            raise TokenError(f"A token can 'view' or 'operate', not {can!r}.")
        if lasts is not None and not timedelta(0) < lasts <= _LONGEST_LIFE:
            raise TokenError("A token lasts longer than no time, and at most a hundred years.")
        secret = draw_secret()
        with translated(), self._runtime.database.transaction() as connection:
            token = self._runtime.ledger.tokens.insert(
                connection,
                name=name,
                can=can,
                digest=digest_of(secret),
                created_by=by or who(),
                lasts=None if lasts is None else lasts.total_seconds(),
            )
        if token is None:
            raise TokenError(
                f"There is a token named {name!r} already: revoke it, or choose another name."
            )
        return IssuedToken(token, write_token(token.id, secret))

    def all(self) -> list[Token]:
        """All tokens that were ever made, newest first."""
        with translated(), self._runtime.database.reading() as connection:
            return self._runtime.ledger.tokens.all(connection)

    def revoke(self, name: str) -> Token:
        """Let nobody in with a token any more, from this moment on.

        Raises:
            TokenError: there is none of that name that still could.
        """
        with translated(), self._runtime.database.transaction() as connection:
            token = self._runtime.ledger.tokens.revoke(connection, name)
        if token is None:
            raise TokenError(f"There is no token named {name!r} that is not revoked already.")
        return token

    def check(self, text: str) -> Token | None:
        """The token that a machine has sent; None when it may not be used, or never was one."""
        read = read_token(text)
        if read is None:
            return None
        token_id, secret = read
        with translated(), self._runtime.database.reading() as connection:
            found = self._runtime.ledger.tokens.find(connection, token_id)
        right = hmac.compare_digest(digest_of(secret), _NOBODYS if found is None else found.digest)
        if found is None or not right:
            return None
        if found.due:
            self._note_use(found.token)
        return found.token

    def _note_use(self, token: Token) -> None:
        database = self._runtime.database
        # On SQLite whoever only looks must not wait for the chunk in hand: it is noted next time.
        if database.writer() is None:
            with translated(), database.transaction(durable=False) as connection:
                self._runtime.ledger.tokens.used(connection, token.id)
