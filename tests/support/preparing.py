"""Sessions in which nothing is prepared, as behind a pooler that hands out another each time."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import event

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine


@contextmanager
def unprepared(engine: Engine) -> Iterator[None]:
    """Have psycopg prepare nothing on an engine's connections."""

    def connect(driver: Any, _record: object) -> None:
        driver.prepare_threshold = None

    engine.dispose()
    event.listen(engine, "connect", connect)
    try:
        yield
    finally:
        event.remove(engine, "connect", connect)
        engine.dispose()
