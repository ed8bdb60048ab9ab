"""Sending lanes: anonymous messages of constant size that only say "come and work".

They may be lost, doubled or late; the ledger decides everything. So sending never retries and
never blocks for long: the caller may be a web request, and the steward asks again anyway.
"""

from __future__ import annotations

import logging
import os
import threading
import weakref
from datetime import datetime
from typing import Any

from celery import Celery, Signature
from celery.canvas import maybe_signature
from kombu import Connection
from kombu.exceptions import EncodeError
from kombu.utils.json import dumps, loads
from kombu.utils.url import maybe_sanitize_url

from breakbulk.domain.event import LinkKind
from breakbulk.errors import BrokerUnreachable, ConfigurationError
from breakbulk.settings import LANE_TASK, SUBMIT_TASK

log = logging.getLogger("breakbulk.broker")

#: What applications hand us and get from us, for those who must not know Celery.
CeleryApp = Celery
CelerySignature = Signature
#: Signatures to be sent later: one, several, or none.
Links = Signature | list[Signature] | tuple[Signature, ...] | None
_CONNECT_SECONDS = 2
_ANSWER_SECONDS = 5
_OF_REDIS = {"socket_timeout": _ANSWER_SECONDS, "socket_connect_timeout": _CONNECT_SECONDS}
_OF_AMQP = {"read_timeout": _ANSWER_SECONDS, "write_timeout": _ANSWER_SECONDS}
#: Boto's own patience is a minute for each of five tries.
_OF_SQS = {
    "client-config": {
        "connect_timeout": _CONNECT_SECONDS,
        "read_timeout": _ANSWER_SECONDS,
        "retries": {"total_max_attempts": 1},
    }
}
#: Clients wait for ever for the answer of a server that only accepts, unless they are told.
_CONFIRMS = ("amqp", "amqps", "pyamqp")
_PATIENCE: dict[str, dict[str, Any]] = {
    "redis": _OF_REDIS,
    "rediss": _OF_REDIS,
    "sentinel": _OF_REDIS,
    "valkey": _OF_REDIS,
    "valkeys": _OF_REDIS,
    "amqp": _OF_AMQP,
    "amqps": _OF_AMQP,
    "pyamqp": _OF_AMQP,
    "sqs": _OF_SQS,
}

#: Weak, for what is given to ``os.register_at_fork`` is there for good, with its application.
_instances: weakref.WeakSet[Broker] = weakref.WeakSet()


class Broker:
    """The user's Celery application as far as we send through it.

    Args:
        app: the application.
    """

    def __init__(self, app: Celery) -> None:
        self.app = app
        self._connection: Connection | None = None
        self._lock = threading.Lock()
        _instances.add(self)

    @property
    def eager(self) -> bool:
        """Whether the team runs tasks where they are called, as in tests."""
        return bool(self.app.conf.task_always_eager)

    def queue_for(self, queue: str | None, task: str = LANE_TASK) -> str:
        """The queue that lanes of a job go to: its own, else where Celery would route the task."""
        if queue is not None:
            return queue
        route: dict[str, Any] = self.app.amqp.router.route({}, task)
        target = route.get("queue")
        if target is None:
            return str(self.app.conf.task_default_queue)
        return str(getattr(target, "name", target))

    def send_lanes(self, queue: str, count: int, good_until: datetime | None = None) -> bool:
        """Ask for ``count`` lanes; False, and one line in the log, when the broker is away.

        Args:
            good_until: by the database's clock; what comes later is not used if lanes came and
                went meanwhile. So what was sent in vain does not pile up in front of the team's
                own tasks.
        """
        try:
            with self._lock:
                self._publish(queue, count, good_until)
        except ConfigurationError:
            raise
        except Exception as error:  # noqa: BLE001  (each transport has its own)
            log.warning("no lanes sent to %r, the steward will ask again: %s", queue, error)
            self._drop()
            return False
        return True

    def ping(self) -> str:
        """The broker's address without its password, if it answers.

        Raises:
            BrokerUnreachable: it does not.
        """
        try:
            new = self._new_connection()
            address = str(new.as_uri())
        except Exception as error:
            address = maybe_sanitize_url(str(self.app.conf.broker_write_url))
            said = error.args[0] if error.args else error
            raise BrokerUnreachable(
                f"The broker at {address} cannot be used ({said}): check broker_url, and that the"
                " client that it needs is installed."
            ) from error
        with new as connection:
            try:
                connection.ensure_connection(max_retries=1, timeout=_CONNECT_SECONDS)
            except Exception as error:
                raise BrokerUnreachable(
                    f"The broker at {address} does not answer ({error}): check that it runs."
                ) from error
            return address

    def submitting(
        self, job: str, parameters: dict[str, Any], options: dict[str, Any]
    ) -> CelerySignature:
        """A signature that submits a run where it is executed."""
        return self.app.signature(SUBMIT_TASK, args=(job, parameters, options), immutable=True)

    def links(self, link: Links, link_error: Links) -> tuple[tuple[str, str], ...]:
        """Signatures as they are kept until the run ends: of each its kind, and itself as text.

        Args:
            link: None, a signature, or several.
            link_error: likewise.

        Raises:
            ConfigurationError: one is no signature, or cannot be kept as JSON.
        """
        given = ((LinkKind.SUCCESS, link), (LinkKind.ERROR, link_error))
        return tuple(
            (str(kind), self._as_text(str(kind), one))
            for kind, value in given
            for one in (value if isinstance(value, (list, tuple)) else [value])
            if one is not None
        )

    def send_link(self, signature: str, run_id: int, task_id: str) -> None:
        """Send a signature that waited for a run's end, with the run's number in front.

        Call it in a thread of its own. It raises whatever the transport raises, and then the
        message may or may not have been sent.

        Args:
            task_id: the same in every try, so that a task can tell.
        """
        # Of this thread alone: the parts of a chain ask for it.
        self.app.set_current()
        found: Any = maybe_signature(loads(signature), app=self.app)
        with self._new_connection() as connection:
            if str(connection.transport_cls) in _CONFIRMS:
                # Or a broker that dies loses what nobody will send again.
                connection.transport_options = {
                    **(connection.transport_options or {}),
                    "confirm_publish": True,
                }
            found.apply_async(
                args=(run_id,),
                task_id=task_id,
                producer=self.app.amqp.Producer(connection),
                retry=False,
            )

    def _as_text(self, name: str, value: object) -> str:
        if not isinstance(value, dict) or "task" not in value:
            raise ConfigurationError(
                f"{name}={value!r} is no Celery signature: give one, as in {name}=tell.s(), or a"
                " list of them."
            )
        try:
            return str(dumps(value))
        except (EncodeError, TypeError, ValueError) as error:
            raise ConfigurationError(
                f"The signature given as {name} cannot be kept as JSON ({error}): give it numbers,"
                " text, lists and dictionaries only."
            ) from error

    def _publish(self, queue: str, count: int, good_until: datetime | None) -> None:
        task = self.app.tasks.get(LANE_TASK)
        if task is None:
            raise ConfigurationError(
                "This Celery application does not know Breakbulk: pass it to Breakbulk(celery=app)."
            )
        if self._connection is None:
            self._connection = self._new_connection()
        producer = self.app.amqp.Producer(self._connection, auto_declare=False)
        arguments = {"queue": queue}
        if good_until is not None:
            arguments["good_until"] = good_until.isoformat()
        for _ in range(count):
            task.apply_async(
                kwargs=arguments,
                queue=queue,
                producer=producer,
                retry=False,
                serializer="json",
                ignore_result=True,
            )

    def _new_connection(self) -> Connection:
        connection = self.app.connection_for_write(connect_timeout=_CONNECT_SECONDS)
        # Without a bound Kombu would try to connect for as long as it takes, and it would wait two
        # seconds before it tries again.
        connection.transport_options = {
            **_PATIENCE.get(str(connection.transport_cls), {}),
            **(connection.transport_options or {}),
            "max_retries": 1,
            "interval_start": 0,
            "interval_step": 0,
        }
        return connection

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.release()
            except Exception as error:  # noqa: BLE001  (it is broken already)
                log.debug("closing a broken broker connection: %s", error)

    def forget(self) -> None:
        """In a forked child: neither use nor close the parent's socket."""
        self._connection = None
        self._lock = threading.Lock()


def _forget_all() -> None:
    for broker in list(_instances):
        broker.forget()


os.register_at_fork(after_in_child=_forget_all)
