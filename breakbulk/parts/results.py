"""Results of parts as text, and all of a run's as a sequence that reads them in pages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, overload

from kombu.exceptions import EncodeError
from kombu.utils.json import dumps, loads

from breakbulk.errors import ResultRefused

#: Up to so many results are handed over as a plain list.
MOST_LISTED = 10_000
#: Results that are read in one statement.
PAGE = 1_000

#: Reads the results from one number to another, both included, as text by number.
Read = Callable[[int, int], dict[int, str]]


def encode_result(value: Any, whose: str, most: int) -> str | None:
    """A result as text; None for None, which need not be stored.

    Args:
        whose: the task's name, for the message.
        most: so many bytes it may have.

    Raises:
        ResultRefused: it is not JSON, or too large.
    """
    if value is None:
        return None
    try:
        text = str(dumps(value, ensure_ascii=False, allow_nan=False))
        size = len(text.encode())
    except (EncodeError, TypeError, ValueError, RecursionError) as error:
        raise ResultRefused(
            f"{whose} returned what cannot be kept as JSON ({error}): return numbers, text, lists"
            " and dictionaries, or nothing."
        ) from error
    if size > most:
        raise ResultRefused(
            f"{whose} returned {size} bytes as JSON, and a result may have {most}: store it"
            " elsewhere and return its key, or raise the setting max_result_bytes."
        )
    return text


def decode_result(text: str | None) -> Any:
    """The inverse of :func:`encode_result`."""
    return None if text is None else loads(text)


class Results(Sequence[Any]):
    """The results of all parts in header order, read from the ledger in pages when asked for.

    A part that has returned nothing, and one that failed, stand there as None.

    Args:
        size: how many parts there are.
        read: reads some of them.
    """

    def __init__(self, size: int, read: Read) -> None:
        self._size = size
        self._read = read
        self._at = -1
        self._page: list[Any] = []

    def __len__(self) -> int:
        return self._size

    @overload
    def __getitem__(self, index: int) -> Any: ...

    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(self._size))]
        at = index + self._size if index < 0 else index
        if not 0 <= at < self._size:
            raise IndexError(f"There are {self._size} results, so none at {index}.")
        page, place = divmod(at, PAGE)
        if page != self._at:
            self._page, self._at = self._load(page), page
        return self._page[place]

    def __iter__(self) -> Iterator[Any]:
        for page in range(-(-self._size // PAGE)):
            yield from self._load(page)

    def __json__(self) -> list[Any]:
        """All of them, where Celery's JSON serializer is given this to send on."""
        return list(self)

    def __repr__(self) -> str:
        return f"<Results of {self._size} parts>"

    def _load(self, page: int) -> list[Any]:
        low, high = page * PAGE + 1, min((page + 1) * PAGE, self._size)
        found = self._read(low, high)
        return [decode_result(found.get(number)) for number in range(low, high + 1)]


def listed(size: int, read: Read) -> Sequence[Any]:
    """All results: a list where they are few, else a sequence that reads them in pages."""
    results = Results(size, read)
    return list(results) if size <= MOST_LISTED else results
