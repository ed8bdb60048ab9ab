"""Sending what is due: claimed from the ledger, sent in threads, and marked when it has arrived.

At least once: whoever dies between sending and marking lets it be sent again, under the same
``webhook-id``. One message of an endpoint at a time, and an endpoint that fails is left alone for
a while, so that one that hangs takes little of the time there is for the others.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable

from sqlalchemy import Connection

from breakbulk.domain.address import Allowed
from breakbulk.domain.webhook import Answer, link_wait_after, wait_after
from breakbulk.errors import ConfigurationError, WebhookNotFound
from breakbulk.ledger.deliveries import Order
from breakbulk.runner import post
from breakbulk.runner.guard import Guard
from breakbulk.runner.runtime import Runtime

log = logging.getLogger("breakbulk.webhooks")

#: Sends a linked signature, as text, for a run; the last is the task's id, the same in every try.
SendLink = Callable[[str, int, str], None]
#: Endpoints at once.
_MOST = 8
#: Far longer than any try takes, with a broker that takes its time. Seconds.
_CLAIM_SECONDS = 60.0
_SWEEP_EVERY = 60.0
_SWEEP_MOST = 500


class Sender:
    """Sends what is due. Not a thread: somebody calls :meth:`tick`; each try is one, though.

    Args:
        send_link: puts a linked signature on the broker, or raises.
    """

    def __init__(self, runtime: Runtime, send_link: SendLink) -> None:
        self._runtime = runtime
        self._send_link = send_link
        self._guard = Guard(Allowed.parse(runtime.settings.webhook_allow))
        #: What is on its way: endpoints, and None for a link.
        self._busy: set[int | None] = set()
        self._answers: deque[tuple[Order, Answer]] = deque()
        self.answered = threading.Event()
        self._swept_at = float("-inf")
        self._complained = False

    @property
    def busy(self) -> bool:
        """Whether something is on its way, or has come back and is not written down."""
        return bool(self._busy)

    def tick(self, connection: Connection, *, begin: bool = True) -> None:
        """Write down what came back and send what is due. Errors of the database are the caller's.

        Args:
            begin: False: send nothing new.
        """
        self.answered.clear()
        while self._answers:
            self._note(connection, *self._answers[0])
            self._busy.discard(self._answers.popleft()[0].endpoint_id)
        if begin:
            for receiver in self._due(connection):
                self._begin(connection, receiver)
            self._sweep(connection)

    def _due(self, connection: Connection) -> list[int | None]:
        ledger = self._runtime.ledger
        found: list[int | None] = []
        endpoints = self._busy - {None}
        with self._runtime.database.reading(connection):
            if not ledger.deliveries.any_open(connection):
                return []
            if None not in self._busy and ledger.deliveries.links_due(connection):
                found.append(None)
            room = _MOST - len(endpoints)
            if room > 0:
                due = ledger.endpoints.due(connection, [one for one in endpoints if one])
                found += due[:room] if self._may_post(bool(due)) else []
        return found

    def _may_post(self, due: bool) -> bool:  # noqa: FBT001
        if post.available():
            return True
        if due and not self._complained:
            self._complained = True
            log.warning(
                "events wait: this worker cannot post them; pip install 'breakbulk[webhooks]'"
            )
        return False

    def _begin(self, connection: Connection, receiver: int | None) -> None:
        ledger = self._runtime.ledger
        url, secrets = "", [""]
        with self._runtime.database.transaction(connection):
            order = ledger.deliveries.claim(connection, receiver, _CLAIM_SECONDS)
            if order is None:
                return
            if receiver is not None:
                try:
                    url = ledger.endpoints.get(connection, receiver).url
                except WebhookNotFound:
                    return  # taken away just now, with all that waited for it
                secrets = ledger.endpoints.secrets(connection, receiver)
        self._busy.add(receiver)
        # A daemon: nobody's shutdown waits for a receiver that hangs.
        threading.Thread(
            target=self._send,
            args=(order, url, secrets),
            name=f"breakbulk-delivery-{order.id}",
            daemon=True,
        ).start()

    def _send(self, order: Order, url: str, secrets: list[str]) -> None:
        try:
            if order.signature is not None:
                answer = self._link(order, order.signature)
            else:
                answer = self._post(order, url, secrets)
        except Exception as error:
            # Whoever waits for the answer would wait for ever, and so would all for this receiver.
            log.exception("delivery %d was interrupted", order.id)
            answer = Answer(0, error=type(error).__name__)
        self._answers.append((order, answer))
        self.answered.set()

    def _post(self, order: Order, url: str, stored: list[str]) -> Answer:
        try:
            secrets = [self._runtime.vault.open_text(one) for one in stored]
        except ConfigurationError as error:
            return Answer(0, error=str(error))
        return post.post(
            self._guard,
            url,
            secrets,
            message_id=order.message_id,
            now=order.now,
            payload=order.payload,
        )

    def _link(self, order: Order, signature: str) -> Answer:
        began = time.monotonic()
        error = None
        try:
            self._send_link(signature, order.run_id, f"{order.message_id}-{order.id}")
        except Exception as caught:  # noqa: BLE001  (each transport has its own)
            error = f"{type(caught).__name__}: {str(caught).partition(chr(10))[0]}"
        return Answer(round((time.monotonic() - began) * 1000), error=error)

    def _note(self, connection: Connection, order: Order, answer: Answer) -> None:
        ledger = self._runtime.ledger
        wait = None
        if not answer.delivered:
            is_link = order.endpoint_id is None
            wait = link_wait_after(order.tries) if is_link else wait_after(order.tries, answer)
        disabled = None
        # failpoint: after sending
        with self._runtime.database.transaction(connection):
            if not ledger.deliveries.note(connection, order, answer, wait=wait):
                log.warning("delivery %d is in other hands by now", order.id)
                return
            if order.endpoint_id is not None:
                if answer.delivered:
                    ledger.endpoints.went_well(connection, order.endpoint_id)
                else:
                    disabled = ledger.endpoints.went_wrong(connection, order.endpoint_id, answer)
        _tell(order, answer, wait)
        if disabled is not None:
            log.error("endpoint %s is switched off: %s", order.endpoint_id, disabled)

    def _sweep(self, connection: Connection) -> None:
        """Throw away what is older than it has to be kept, a little at a time."""
        if time.monotonic() - self._swept_at < _SWEEP_EVERY:
            return
        self._swept_at = time.monotonic()
        keep = self._runtime.settings.webhook_keep_seconds
        with self._runtime.database.transaction(connection):
            self._runtime.ledger.deliveries.sweep(connection, keep, _SWEEP_MOST)


def send_all(runtime: Runtime, send_link: SendLink) -> None:
    """Send all that is due, here and now: there is no worker that will."""
    sender = Sender(runtime, send_link)
    with runtime.database.connect() as connection:
        sender.tick(connection)
        while sender.busy:
            sender.answered.wait()
            sender.tick(connection)


def _tell(order: Order, answer: Answer, wait: float | None) -> None:
    # Not the URL: whoever has it might send, too.
    where = "a link" if order.endpoint_id is None else f"endpoint {order.endpoint_id}"
    if answer.delivered:
        log.info("run %s: delivery %d reached %s", order.run_id, order.id, where)
        return
    said = (answer.error or f"it answered {answer.code}").removesuffix(".")
    then = "it is given up" if wait is None else f"again in {wait:.0f} s"
    log.warning(
        "run %s: delivery %d did not reach %s: %s; %s", order.run_id, order.id, where, said, then
    )
