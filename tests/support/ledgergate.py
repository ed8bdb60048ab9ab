"""A gate inside the ledger itself, for workers that a test does not start and cannot reach."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from sqlalchemy import Engine

_GATE = 4711
_BUILD_GATE = f"""
    CREATE FUNCTION pass_the_gate() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_advisory_xact_lock_shared({_GATE}); RETURN NEW; END $$;
    CREATE TRIGGER gate BEFORE UPDATE OF status ON breakbulk.chunks FOR EACH ROW
        WHEN (NEW.number > 4) EXECUTE FUNCTION pass_the_gate()
"""
_AT_THE_GATE = f"""
    SELECT count(*) FROM pg_locks
    WHERE locktype = 'advisory' AND NOT granted AND mode = 'ShareLock' AND objid = {_GATE}
"""


class LedgerGate:
    """Where every chunk but the first four waits, all but committed, until a test opens it.

    However fast the machine, the run is not over before that.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._keeper = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        self._keeper.execute(text(f"SELECT pg_advisory_lock({_GATE})"))
        with engine.begin() as connection:
            connection.execute(text(_BUILD_GATE))

    def await_lanes(self, number: int) -> None:
        """Wait until that many lanes stand before it."""
        with self._engine.connect() as connection:
            reading = connection.execution_options(isolation_level="AUTOCOMMIT")
            wait_for(
                lambda: reading.execute(text(_AT_THE_GATE)).scalar_one() >= number,
                message=f"{number} lanes to come to the gate",
            )

    def await_shutdown(self) -> None:
        """Wait until the workers have been asked to end."""
        query = text("SELECT bool_and(draining) FROM breakbulk.workers")
        with self._engine.connect() as connection:
            reading = connection.execution_options(isolation_level="AUTOCOMMIT")
            wait_for(
                lambda: reading.execute(query).scalar_one(), message="the workers to be shut down"
            )

    def open(self) -> None:
        """Let everybody pass, for good."""
        self._keeper.close()
        self._engine.dispose()
