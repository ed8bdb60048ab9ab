"""Items as text: JSON values, written so that they are read back exactly as they were given."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

from breakbulk.errors import SourceError

#: What a run of items has for the fingerprint of its source: the items are in the ledger, and
#: whoever works on them need not ask the job for them again.
ITEMS_FINGERPRINT: Final = hashlib.sha256(b"breakbulk items").hexdigest()
#: The key of an item is its position, from 1.
ITEM_KEY: Final = ("item",)
#: The hash of no items at all.
NO_ITEMS: Final = hashlib.sha256().hexdigest()


def encode_item(value: Any, number: int, most: int, noun: str = "item") -> str:
    """Write an item as compact JSON.

    Args:
        value: the item.
        number: its position from 1, for the message.
        most: so many bytes it may have.
        noun: what people call it, for the message.

    Raises:
        SourceError: it is not a JSON value, or too large.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        size = len(text.encode())
        same = json.loads(text) == value
    except (TypeError, ValueError, RecursionError) as error:
        raise SourceError(
            f"{noun.capitalize()} {number} is not a JSON value ({error}). {_ADVICE}"
        ) from error
    if not same:
        # Keys that are no texts become texts without a word, and tuples lists.
        raise SourceError(
            f"{noun.capitalize()} {number} would come back from JSON as another value, because it"
            f" has a tuple, or a key that is not text. {_ADVICE}"
        )
    if size > most:
        raise SourceError(
            f"{noun.capitalize()} {number} has {size} bytes as JSON and may have {most}: store it"
            " elsewhere and give its key instead, or raise the setting max_item_bytes."
        )
    return text


def decode_item(text: str) -> Any:
    """Read an item back."""
    return json.loads(text)


def chained(digest: str, text: str) -> str:
    """The hash of all items up to one, from that of the items before it."""
    return hashlib.sha256(f"{digest}{text}".encode()).hexdigest()


_ADVICE = "An item is made of dicts with text for keys, lists, text, numbers, True, False and None."
