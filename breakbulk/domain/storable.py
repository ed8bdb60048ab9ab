"""Text from anywhere, made such that every database can keep it."""

from __future__ import annotations


def storable(text: str, limit: int) -> str:
    """A text, bounded, without what cannot be stored.

    Args:
        limit: characters; of a longer text both ends are kept.
    """
    # User code may hand over a class of its own, with methods of its own.
    text = str.__str__(text)
    left_out = len(text) - limit
    if left_out > 0:
        half = limit // 2
        text = f"{text[:half]}\n… {left_out} characters left out …\n{text[-half:]}"
    # NUL cannot be stored as text, half a surrogate pair cannot be encoded.
    return text.replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode("utf-8")
