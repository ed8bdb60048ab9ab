"""``bulk.webhooks``: who outside is told of runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from sqlalchemy import Connection

from breakbulk.app.handle import who
from breakbulk.domain.webhook import Answer, Delivery, Endpoint
from breakbulk.ledger.faults import translated
from breakbulk.runner import webhooks
from breakbulk.runner.runtime import Runtime
from breakbulk.runner.webhooks import DeliveryLog, Registered


class Webhooks:
    """The endpoints of an application, and what was delivered to them.

    Events are written in the transaction that makes them true and sent by a worker, at least once.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def add(
        self,
        url: str,
        *,
        job: type[object] | str | None = None,
        events: Iterable[str] = (),
        by: str | None = None,
    ) -> Registered:
        """Register an endpoint; the only time that its secret is shown.

        Args:
            url: where events are posted to.
            job: only of runs of this job: its class, or its name.
            events: only these types; all, if there are none.
            by: who registers it; default the operating system's user and host.

        Raises:
            ConfigurationError: ``breakbulk[webhooks]`` is not installed.
            EndpointRefused: nothing may be sent to that URL, or there is no such event.
            UnknownJob: there is no such job.
        """
        jobs = self._runtime.jobs
        name = None
        if job is not None:
            name = (jobs.get(job) if isinstance(job, str) else jobs.of(job)).name
        with self._connection() as connection:
            return webhooks.register(
                self._runtime, connection, url, job=name, events=events, by=by or who()
            )

    def endpoints(self) -> list[Endpoint]:
        """Every endpoint, in the order in which they were registered."""
        with self._reading() as connection:
            return self._runtime.ledger.endpoints.all(connection)

    def endpoint(self, endpoint_id: int) -> Endpoint:
        """One endpoint.

        Raises:
            WebhookNotFound: there is none of that number.
        """
        with self._reading() as connection:
            return self._runtime.ledger.endpoints.get(connection, endpoint_id)

    def remove(self, endpoint_id: int) -> None:
        """Take an endpoint away, with its deliveries.

        Raises:
            WebhookNotFound: there is none of that number.
        """
        with self._changing(endpoint_id) as connection:
            self._runtime.ledger.endpoints.remove(connection, endpoint_id)

    def enable(self, endpoint_id: int) -> None:
        """Send to an endpoint again, also what has waited for it meanwhile.

        Raises:
            WebhookNotFound: there is none of that number.
        """
        with self._changing(endpoint_id) as connection:
            self._runtime.ledger.endpoints.enable(connection, endpoint_id)

    def disable(self, endpoint_id: int, *, by: str | None = None) -> None:
        """Send nothing to an endpoint any more. Of what happens meanwhile it is never told.

        Raises:
            WebhookNotFound: there is none of that number.
        """
        reason = f"switched off by {by or who()}"
        with self._changing(endpoint_id) as connection:
            self._runtime.ledger.endpoints.disable(connection, endpoint_id, reason)

    def rotate(self, endpoint_id: int) -> Registered:
        """Give an endpoint another secret; for 24 hours the one before it signs, too.

        Raises:
            WebhookNotFound: there is none of that number.
        """
        with self._connection() as connection:
            return webhooks.rotate(self._runtime, connection, endpoint_id)

    def test(self, endpoint_id: int) -> Answer:
        """Send a ``ping`` now, from this process, and wait for what comes back.

        Raises:
            ConfigurationError: ``breakbulk[webhooks]`` is not installed.
            WebhookNotFound: there is none of that number.
        """
        with self._connection() as connection:
            return webhooks.ping(self._runtime, connection, endpoint_id)

    def deliveries(
        self,
        *,
        run: int | None = None,
        endpoint: int | None = None,
        before: int | None = None,
        limit: int = 50,
    ) -> list[Delivery]:
        """Deliveries, newest first; the next page is asked for with the last one as ``before``.

        Args:
            run: only of this run.
            endpoint: only to this endpoint.
        """
        with self._reading() as connection:
            return self._runtime.ledger.deliveries.page(
                connection, run_id=run, endpoint_id=endpoint, before=before, limit=limit
            )

    def delivery(self, delivery_id: int) -> DeliveryLog:
        """A delivery with its payload and every try.

        Raises:
            WebhookNotFound: there is none of that number.
        """
        deliveries = self._runtime.ledger.deliveries
        with self._reading() as connection:
            return DeliveryLog(
                deliveries.get(connection, delivery_id),
                deliveries.payload(connection, delivery_id),
                tuple(deliveries.tries(connection, delivery_id)),
            )

    def replay(self, delivery_id: int) -> Delivery:
        """Send an event once more to whom a delivery was for, under the same ``webhook-id``.

        Raises:
            WebhookNotFound: there is none of that number.
            StateError: it still waits, or its endpoint is switched off.
        """
        with self._connection() as connection:
            return webhooks.replay(self._runtime, connection, delivery_id)

    @contextmanager
    def _changing(self, endpoint_id: int) -> Iterator[Connection]:
        with self._connection() as connection, self._runtime.database.transaction(connection):
            self._runtime.ledger.endpoints.get(connection, endpoint_id)
            yield connection

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        with translated(), self._runtime.database.connect() as connection:
            yield connection

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with translated(), self._runtime.database.reading() as connection:
            yield connection
