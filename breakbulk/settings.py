"""Every knob of a worker and its ledger, with the reason for its default.

What belongs to a job (chunk size, retries, queue) is declared with the job; what is here
belongs to the whole installation and is given as keyword arguments to ``Breakbulk(…)``.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from ipaddress import ip_network

from breakbulk.errors import ConfigurationError

#: The Celery task that works: teams may route it, so the name is part of the interface.
LANE_TASK = "breakbulk.lane"
#: The Celery task that submits, for beat, links and chains.
SUBMIT_TASK = "breakbulk.submit"

_SHORTEST_SLICE = 1
_SHORTEST_LEASE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Options of one installation. All durations are seconds.

    Attributes:
        slice_seconds: how long a lane works before it lets the team's other tasks have a
            turn. A foreign task on the same queue waits at most this long; each hand-over
            costs one message and about six statements, so five seconds keep that invisible.
        carve_seconds: how much work a lane takes at a time once its pace is known. More
            would let one lane hoard at the end of a run; less costs more carving. So long after
            the last carve others leave it what it has not begun; then they take it over.
        max_carve: chunks in one carve at most, so that the carve row is locked for
            milliseconds however short the chunks are.
        max_chunk_rows: rows at most in a chunk that sizes itself. A lane has all of a chunk's rows
            in memory, and a table may be cheap to work on for long before it is not.
        tally_seconds: how often a lane notes its progress, inside a chunk's transaction.
        poll_seconds: how often a lane looks for chunks that wait for a retry, and for a
            drain. Looking once a chunk would cost a statement a chunk.
        lease_seconds: how long a worker may stay silent before its chunks are given to
            others. Longer than any pause of a healthy machine, short enough to wait for.
        steward_seconds: how often the steward looks around: for killed children, stuck
            runs and missing lanes.
        throttle_seconds: how often the leading steward looks at what runs hold back on. A run stops
            and goes on that late; each look costs a statement for each thing that is asked for. And
            how often it looks who waits for chunks that size themselves.
        broker_patience: how long a run may have no lane at all, though a worker has a free slot,
            before its steward works without the broker, in a process of its own.
        surplus_messages: "come and work" messages beyond the lanes that are missing, because
            a worker may prefetch one while another worker's slot stands idle.
        max_losses: how often a chunk may be lost with its whole machine before that counts
            as its own fault.
        held_after_chunks: so many chunks that fail one after the other in the same way, with no
            success in between, are not the rows' fault: the run is held.
        max_snoozes: how often one chunk may put itself back.
        transient_seconds: how long a chunk is retried at once after deadlocks and lost
            connections before that counts as a failure.
        max_item_bytes: how large one item of an iterable may be, as JSON. Items are stored in the
            ledger, and a lane has all of a chunk's in memory.
        max_result_bytes: how large the result of one part of a canvas may be, as JSON. Results are
            stored in the ledger, and the body has up to 10,000 of them in memory.
        webhook_allow: hosts and networks that events may be sent to though they are not public,
            and without TLS, with spaces between them, as in ``"hooks.internal 10.1.0.0/16"``. A
            worker reaches what nobody outside does, so nothing is allowed unless it is named.
        webhook_keep_seconds: events older than this are thrown away, with their deliveries:
            thirty days, ten times as long as the last try takes to come.
        tally_fold_seconds: tallies older than this are put together, those of a longer run by
            longer stretches of time.
    """

    slice_seconds: float = 5.0
    carve_seconds: float = 1.0
    max_carve: int = 1000
    max_chunk_rows: int = 10_000
    tally_seconds: float = 1.0
    poll_seconds: float = 1.0
    lease_seconds: float = 15.0
    steward_seconds: float = 0.5
    throttle_seconds: float = 2.0
    broker_patience: float = 30.0
    surplus_messages: int = 1
    max_losses: int = 10
    held_after_chunks: int = 5
    max_snoozes: int = 1000
    transient_seconds: float = 60.0
    max_item_bytes: int = 65_536
    max_result_bytes: int = 65_536
    tally_fold_seconds: float = 120.0
    webhook_allow: str = ""
    webhook_keep_seconds: float = 2_592_000.0

    def __post_init__(self) -> None:
        self._check_webhooks()
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type == "str":
                continue
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not number or not 0 <= value < float("inf"):
                raise ConfigurationError(
                    f"The setting {field.name} must be a number from 0 up, not {value!r}."
                )
            if field.type == "int" and not isinstance(value, int):
                raise ConfigurationError(
                    f"The setting {field.name} must be a whole number, not {value!r}."
                )
        if self.max_carve < 1:
            raise ConfigurationError("max_carve must be at least 1: a lane takes what it works on.")
        if self.max_chunk_rows < 1:
            raise ConfigurationError("max_chunk_rows must be at least 1: a chunk has rows.")
        if self.held_after_chunks < 1:
            raise ConfigurationError("held_after_chunks must be at least 1.")
        if self.slice_seconds < _SHORTEST_SLICE:
            raise ConfigurationError("slice_seconds must be at least 1: a lane needs time to work.")
        if self.lease_seconds < _SHORTEST_LEASE:
            raise ConfigurationError(
                "lease_seconds must be at least 2, or a short pause of a healthy machine"
                " would cost it its chunks."
            )

    def _check_webhooks(self) -> None:
        if not isinstance(self.webhook_allow, str):
            raise ConfigurationError(
                f"The setting webhook_allow must be text, not {self.webhook_allow!r}."
            )
        try:
            for word in self.webhook_allow.replace(",", " ").split():
                if "/" in word:
                    ip_network(word)
        except ValueError as error:
            raise ConfigurationError(
                f"The setting webhook_allow names what is no network ({error}): write it as in"
                " '10.1.0.0/16'."
            ) from error
