"""Tokens by which machines are known: what they look like, and what is kept of them."""

from __future__ import annotations

import hashlib
import re
import secrets
import string
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

_SECRET_LENGTH = 40
_LETTERS = string.ascii_letters + string.digits
#: One shape, so that those who look for leaked secrets recognise it.
_SHAPE = re.compile(rf"bbk_([1-9]\d{{0,17}})_([A-Za-z0-9]{{{_SECRET_LENGTH}}})")
PREFIX = "bbk_"


@dataclass(frozen=True, slots=True)
class Token:
    """A token as the ledger has it, which is not enough to use it.

    Attributes:
        name: stands in the activity of runs beside what is done with it.
        can: ``view`` or ``operate``.
        expires_at: None: never.
        last_used_at: to the minute.
        revoked_at: None: it was not.
    """

    id: int
    name: str
    can: str
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            name: value.isoformat() if isinstance(value, datetime) else value
            for name, value in asdict(self).items()
        }


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A token that was made just now.

    Attributes:
        token: what the ledger keeps of it.
        text: what the machine is to send; it is not kept, so it cannot be shown again.
    """

    token: Token
    text: str

    def __repr__(self) -> str:
        """Without the secret: this may end up in a log."""
        return f"IssuedToken(token={self.token!r}, text='***')"


def draw_secret() -> str:
    """The secret part of a new token: 238 random bits."""
    return "".join(secrets.choice(_LETTERS) for _ in range(_SECRET_LENGTH))


def write_token(token_id: int, secret: str) -> str:
    """What the machine is to send."""
    return f"{PREFIX}{token_id}_{secret}"


def read_token(text: str) -> tuple[int, str] | None:
    """Id and secret of what a machine has sent; None for what is no token."""
    found = _SHAPE.fullmatch(text)
    return None if found is None else (int(found[1]), found[2])


def digest_of(secret: str) -> str:
    """What is kept of a secret. It is random and long, so nobody can guess it from this."""
    return hashlib.sha256(secret.encode()).hexdigest()
