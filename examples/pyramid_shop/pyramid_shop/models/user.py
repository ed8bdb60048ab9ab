"""Who works here."""

from __future__ import annotations

import hashlib
import hmac
import secrets

from sqlalchemy.orm import Mapped, mapped_column

from pyramid_shop.models.meta import Base

#: Of scrypt: 16 MiB and some 50 ms for each guess.
_COST = {"n": 2**14, "r": 8, "p": 1}


class User(Base):
    """Somebody with a password.

    Attributes:
        role: ``viewer`` or ``operator``.
        password: salt and hash.
    """

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    role: Mapped[str]
    password: Mapped[str]

    def set_password(self, password: str) -> None:
        """Keep a hash of it."""
        salt = secrets.token_hex(16)
        self.password = f"{salt}:{_hashed(password, salt)}"

    def has_password(self, password: str) -> bool:
        """Whether it is that."""
        salt, _, known = self.password.partition(":")
        return hmac.compare_digest(_hashed(password, salt), known)


def _hashed(password: str, salt: str) -> str:
    return hashlib.scrypt(password.encode(), salt=salt.encode(), **_COST).hex()
