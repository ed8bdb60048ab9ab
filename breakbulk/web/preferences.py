"""What somebody has chosen about the pages, kept in cookies: no script is needed for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from pyramid.request import Request

THEMES = ("auto", "light", "dark")
#: Seconds between two looks; 0 is off.
INTERVALS = (1, 2, 5, 15, 60, 0)
_THEME, _REFRESH = "breakbulk_theme", "breakbulk_refresh"
_A_YEAR = 365 * 86_400


@dataclass(frozen=True, slots=True)
class Preferences:
    """How pages look, and how often they look again.

    Attributes:
        theme: one of ``THEMES``.
        refresh: one of ``INTERVALS``, in seconds.
    """

    theme: str = "auto"
    refresh: int = 2

    @classmethod
    def of(cls, request: Request) -> Self:
        """What the browser has kept, as far as it makes sense."""
        return cls().changed(request.cookies.get(_THEME), request.cookies.get(_REFRESH))

    def changed(self, theme: str | None, refresh: str | None) -> Self:
        """The same with what is given and makes sense."""
        known = {str(seconds): seconds for seconds in INTERVALS}
        return type(self)(
            theme if theme in THEMES else self.theme, known.get(refresh or "", self.refresh)
        )

    def keep(self, request: Request) -> None:
        """Have the browser keep them."""
        for name, value in ((_THEME, self.theme), (_REFRESH, str(self.refresh))):
            request.response.set_cookie(
                name,
                value,
                max_age=_A_YEAR,
                path=request.script_name or "/",
                httponly=True,
                secure=request.scheme == "https",
                samesite="Lax",
            )
