"""Text from anywhere on a terminal: it is to be read, and to do nothing else.

What a job has raised, the name of a file, a reason: each may hold sequences that clear the screen,
rename the window or write text backwards.
"""

from __future__ import annotations

from itertools import chain

#: All that steers a terminal, or the direction of writing; but for the ends of lines and tabs.
_STEERING = [
    code
    for code in chain(range(0x20), range(0x7F, 0xA0), range(0x202A, 0x202F), range(0x2066, 0x206A))
    if chr(code) not in "\n\t"
]
#: As Python spells them, and JSON.
_SHOWN = {code: ascii(chr(code))[1:-1] for code in _STEERING}
_AS_JSON = {code: f"\\u{code:04x}" for code in _STEERING}


def printable(text: str) -> str:
    """The text with everything that steers a terminal spelt out."""
    return text.translate(_SHOWN)


def printable_line(text: str) -> str:
    """The same, in one line."""
    return " ".join(printable(text).split("\n"))


def printable_json(document: str) -> str:
    """JSON that means the same: such characters can only be inside its texts."""
    return document.translate(_AS_JSON)
