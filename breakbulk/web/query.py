"""What an address asks for; whatever makes no sense is as if it were not there."""

from __future__ import annotations

from pyramid.request import Request

#: Of the largest number that a database's bigint holds, less one.
_MOST_DIGITS = 18
_MOST_TEXT = 500


def number_in(request: Request, name: str) -> int | None:
    """A number that is not negative."""
    text = request.GET.get(name, "")
    fits = text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS
    return int(text) if fits else None


def text_in(request: Request, name: str) -> str | None:
    """Text that a database can compare with."""
    text: str = request.GET.get(name, "")
    fits = text.isprintable() and len(text) <= _MOST_TEXT
    return text if text and fits else None
