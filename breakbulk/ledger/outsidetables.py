"""The tables of whoever is outside: what they are told, and by what tokens they are known."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    Uuid,
    text,
)

from breakbulk.ledger.sql import ID, Instant


def endpoints(metadata: MetaData, name: str) -> Table:
    """Where events are posted to."""
    return Table(
        name,
        metadata,
        Column("id", ID, primary_key=True),
        Column("url", Text, nullable=False),
        # NULL: of every job.
        Column("job", Text),
        # The types of events that are wanted, with spaces between; NULL: all.
        Column("wants", Text),
        Column("secret", Text, nullable=False),
        # What was the secret before, and until when it signs, too.
        Column("old_secret", Text),
        Column("old_secret_until", Instant),
        Column("enabled", Boolean, nullable=False),
        Column("reason", Text),
        Column("created_at", Instant, nullable=False),
        Column("created_by", Text),
        # Written only when something fails, and when it is well again.
        Column("failures", Integer, nullable=False, server_default=text("0")),
        Column("failing_since", Instant),
        Column("rests_until", Instant),
    )


def links(metadata: MetaData, name: str) -> Table:
    """Celery signatures that are sent when a run ends."""
    return Table(
        name,
        metadata,
        Column("id", ID, primary_key=True),
        Column("run_id", BigInteger, nullable=False),
        Column("kind", Text, nullable=False),
        Column("signature", Text, nullable=False),
        Index(None, "run_id"),
    )


def events(metadata: MetaData, name: str) -> Table:
    """What somebody outside is told: the outbox, with :func:`deliveries`."""
    return Table(
        name,
        metadata,
        Column("id", ID, primary_key=True),
        Column("run_id", BigInteger, nullable=False),
        Column("type", Text, nullable=False),
        Column("at", Instant, nullable=False),
        # The same in every try, so that a receiver can tell that it had it already.
        Column("message_id", Text, nullable=False),
        Column("payload", Text, nullable=False),
        Index(None, "run_id", "id"),
        Index(None, "at"),
    )


def deliveries(metadata: MetaData, name: str) -> Table:
    """One event for one receiver: an endpoint, or a link of the run."""
    waits = text("ended_at IS NULL")
    return Table(
        name,
        metadata,
        Column("id", ID, primary_key=True),
        Column("event_id", BigInteger, nullable=False),
        Column("run_id", BigInteger, nullable=False),
        Column("endpoint_id", BigInteger),
        Column("link_id", BigInteger),
        Column("status", Text, nullable=False),
        Column("tries", Integer, nullable=False, server_default=text("0")),
        # While somebody is at it: when his claim runs out.
        Column("not_before", Instant, nullable=False),
        Column("owner", Uuid),
        Column("created_at", Instant, nullable=False),
        Column("ended_at", Instant),
        Index(None, "run_id", "id"),
        Index(None, "event_id"),
        Index(None, "endpoint_id", "id"),
        Index(
            f"ix_{name}_due",
            "endpoint_id",
            "not_before",
            postgresql_where=waits,
            sqlite_where=waits,
        ),
    )


def tries(metadata: MetaData, name: str) -> Table:
    """Each try at a delivery, and what came back."""
    return Table(
        name,
        metadata,
        Column("id", ID, primary_key=True),
        Column("delivery_id", BigInteger, nullable=False),
        Column("at", Instant, nullable=False),
        # Of the answer; NULL: there was none, or none was to be expected.
        Column("code", Integer),
        Column("milliseconds", Integer, nullable=False),
        Column("answer", Text),
        Column("error", Text),
        Index(None, "delivery_id", "id"),
    )


def tokens(metadata: MetaData, name: str) -> Table:
    """By which machines are known; their secrets are not kept, only what they come to."""
    return Table(
        name,
        metadata,
        Column("id", ID, primary_key=True),
        Column("name", Text, nullable=False),
        Column("can", Text, nullable=False),
        Column("digest", Text, nullable=False),
        Column("created_at", Instant, nullable=False),
        Column("created_by", Text, nullable=False),
        Column("expires_at", Instant),
        Column("last_used_at", Instant),
        Column("revoked_at", Instant),
        Index(
            None,
            "name",
            unique=True,
            postgresql_where=text("revoked_at IS NULL"),
            sqlite_where=text("revoked_at IS NULL"),
        ),
    )
