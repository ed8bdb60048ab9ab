"""A job whose source is an iterable: numbers of products, given out as a test lets it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import update

from breakbulk import Items

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from breakbulk import Chunk, FinishedRun


def make(
    product: type[Any],
    note: Callable[[FinishedRun], None],
    gate: Callable[[str], Callable[[str], None]],
) -> type[Any]:
    """Make the class of the job.

    Args:
        product: the model whose versions are counted up.
        note: called back.
        gate: how to wait at the gate of a directory.
    """

    class Manifest:
        """Count the products up that a list names, one by one.

        Attributes:
            rows: numbers from 1 to this.
            gate: where the list is held up, if anywhere.
            halt: before this number.
        """

        rows: int = 1000
        gate: str = ""
        halt: int = 0

        def source(self) -> Items[dict[str, int]]:
            return Items(self.numbers())

        def numbers(self) -> Iterator[dict[str, int]]:
            for number in range(1, self.rows + 1):
                if self.gate and number == self.halt:
                    gate(self.gate)(str(number))
                yield {"id": number}

        def process(self, chunk: Chunk[dict[str, int]]) -> None:
            for item in chunk:
                chunk.session.execute(
                    update(product)
                    .where(product.id == item["id"])
                    .values(version=product.version + 1)
                )

        def finished(self, run: FinishedRun) -> None:
            note(run)

    return Manifest
