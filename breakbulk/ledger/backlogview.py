"""The view ``backlog``: how much work is left, one row for each run that has not ended.

It is for people and programs that speak SQL and nothing else, such as KEDA's PostgreSQL scaler;
:mod:`breakbulk.ledger.backlog` reads it, too, so that everybody is told the same. What it costs
does not grow with the chunks that are done: each part is looked up by a key, and what is counted is
only what is not done.
"""

from __future__ import annotations

from sqlalchemy import Dialect

from breakbulk.domain.backlog import TARGET_SECONDS, UNKNOWN_CHUNK_SECONDS
from breakbulk.ledger.schema import Schema

NAME = "backlog"
#: What a chunk takes is the mean of so many, the last ones.
_PACE_CHUNKS = 100
_RATE_SECONDS = 10

# A run that holds back keeps a slot: with no worker nobody would look whether it still has to.
# Materialized: else each mention of a figure further down would look it up once more.
_VIEW = """
WITH seen AS MATERIALIZED (
  SELECT r.id, r.job, r.queue, r.status, r.finish_by, r.chunk_size,
    CASE WHEN r.status IN ('running', 'loading')
      AND r.throttled_to < COALESCE(r.max_lanes, r.throttled_to + 1)
      THEN r.throttled_to ELSE r.max_lanes END AS max_lanes,
    CASE WHEN r.status IN ('running', 'loading') AND r.throttled_to = 0 AND {begun}
      THEN 1 ELSE 0 END AS holding_back,
    CASE WHEN r.chunk_seconds IS NULL THEN 0 ELSE 1 END AS sizes_itself,
    (SELECT z.rows FROM {sizes} z WHERE z.run_id = r.id ORDER BY z.id DESC LIMIT 1) AS own_size,
    CASE WHEN r.finisher IS NULL THEN 0 ELSE 1 END AS calling_back,
    CASE WHEN r.status IN ('running', 'loading') AND {begun} THEN 1 ELSE 0 END AS going,
    CASE WHEN c.exhausted_at IS NULL THEN 0 ELSE 1 END AS exhausted,
    CASE WHEN r.status = 'loading' THEN 1 ELSE 0 END AS loading,
    COALESCE(r.rows_estimate, (SELECT max(i.number) FROM {items} i WHERE i.run_id = r.id), 0)
      AS expected,
    COALESCE((SELECT k.rows_upto FROM {chunks} k WHERE k.run_id = r.id
      ORDER BY k.number DESC, k.path DESC LIMIT 1), 0) AS carved,
    (SELECT count(*) FROM {chunks} k
      WHERE k.run_id = r.id AND k.status <> 'succeeded' AND k.status = 'carved') AS in_hand,
    (SELECT count(*) FROM {waiting} w WHERE w.run_id = r.id AND w.not_before <= {now}) AS due,
    (SELECT count(*) FROM {waiting} w WHERE w.run_id = r.id AND w.not_before > {now}) AS later,
    (SELECT {due_seconds} FROM {waiting} w WHERE w.run_id = r.id) AS due_seconds,
    (SELECT count(*) FROM {lanes} l WHERE l.run_id = r.id) AS lanes,
    {ready_seconds} AS ready_seconds,
    COALESCE((SELECT sum(t.rows) / ({rate_seconds} + 1.0) FROM {tallies} t
      WHERE t.run_id = r.id AND t.at >= {lately}), 0.0) AS rows_per_second,
    CASE WHEN r.finish_by IS NULL THEN NULL ELSE {seconds_left} END AS seconds_left
  FROM {runs} r JOIN {carves} c ON c.run_id = r.id
  WHERE r.finished_at IS NULL
),
paced AS MATERIALIZED (
  SELECT s.*,
    (SELECT avg(p.seconds) FROM (SELECT k.seconds FROM {chunks} k WHERE k.run_id = s.id
      ORDER BY k.number DESC, k.path DESC LIMIT {last_ones}) p) AS own_seconds
  FROM seen s
),
sized AS MATERIALIZED (
  SELECT s.*,
    COALESCE(s.own_seconds,
      (SELECT avg(p.seconds) FROM (SELECT k.seconds FROM {chunks} k
        WHERE k.run_id = (SELECT b.id FROM {runs} b
          WHERE b.job = s.job AND b.id < s.id AND b.finished_at IS NOT NULL
          ORDER BY b.id DESC LIMIT 1)
        ORDER BY k.number DESC, k.path DESC LIMIT {pace}) p),
      {unknown}) AS chunk_seconds,
    COALESCE(s.own_size,
      CASE WHEN s.sizes_itself = 1 AND s.own_seconds IS NULL THEN
        (SELECT COALESCE((SELECT z.rows FROM {sizes} z WHERE z.run_id = b.id
            ORDER BY z.id DESC LIMIT 1), b.chunk_size)
          FROM {runs} b WHERE b.job = s.job AND b.id < s.id AND b.finished_at IS NOT NULL
          ORDER BY b.id DESC LIMIT 1) END,
      s.chunk_size) AS size
  FROM paced s
),
counted AS MATERIALIZED (
  SELECT s.*,
    CASE WHEN s.exhausted = 1 OR s.expected < s.carved THEN 0 ELSE s.expected - s.carved END
      AS rows_left,
    s.in_hand + s.calling_back AS inflight,
    CASE WHEN s.status = 'finishing' THEN 1 - s.calling_back
      WHEN s.going = 0 OR s.holding_back = 1 THEN 0
      WHEN s.exhausted = 1 THEN s.due
      WHEN s.expected > s.carved
        THEN s.due + (s.expected - s.carved + s.size - 1) / s.size
      ELSE s.due + 1 - s.loading END AS runnable
  FROM sized s
),
needed AS MATERIALIZED (
  SELECT n.*,
    n.runnable + n.inflight AS chunks,
    CASE WHEN n.seconds_left <= 0 THEN n.runnable + n.inflight
      ELSE (n.runnable + n.inflight) * n.chunk_seconds / COALESCE(n.seconds_left, {target}) END
      AS slots
  FROM counted n
)
SELECT
  t.id AS run_id,
  t.job,
  t.queue,
  t.status,
  CAST(t.runnable AS bigint) AS runnable_chunks,
  CAST(t.inflight AS bigint) AS inflight_chunks,
  CAST(t.later AS bigint) AS delayed_chunks,
  CAST(t.rows_left AS bigint) AS rows_left,
  CAST(t.chunk_seconds AS double precision) AS chunk_seconds,
  CAST(t.chunks * t.chunk_seconds AS double precision) AS backlog_seconds,
  CAST(CASE WHEN t.runnable = 0 THEN 0
    WHEN t.runnable > t.due THEN {most}(t.ready_seconds, 0)
    ELSE {most}({least}(t.due_seconds, t.ready_seconds), 0) END AS double precision)
    AS oldest_waiting_seconds,
  CAST(t.rows_per_second AS double precision) AS rows_per_second,
  CAST(t.lanes AS bigint) AS lanes,
  t.max_lanes,
  t.finish_by,
  t.seconds_left,
  CAST({most}(t.holding_back, {least}({ceiling}, t.chunks, COALESCE(t.max_lanes, t.chunks)))
    AS bigint) AS desired_slots
FROM needed t
""".strip()

_BEGUN = "r.awaits IS NOT TRUE AND (r.not_before IS NULL OR r.not_before <= {now})"


def create(schema: Schema, dialect: Dialect) -> list[str]:
    """The statements that make the view, or make it anew, in the words of a database."""
    quoted = dialect.identifier_preparer.format_table
    used = ("runs", "carves", "chunks", "waiting", "tallies", "lanes", "items", "sizes")
    tables = {one: quoted(getattr(schema, one)) for one in used}
    words = _POSTGRESQL if dialect.name == "postgresql" else _SQLITE
    figures = {
        "pace": _PACE_CHUNKS,
        "unknown": UNKNOWN_CHUNK_SECONDS,
        "rate_seconds": _RATE_SECONDS,
        "target": TARGET_SECONDS,
    }
    begun = _BEGUN.format(**words)
    select = _VIEW.format(begun=begun, **tables, **words, **figures)
    view = full_name(schema, dialect)
    if dialect.name == "postgresql":
        # Whoever was granted to read it may go on.
        return [f"CREATE OR REPLACE VIEW {view} AS\n{select}"]
    return [f"DROP VIEW IF EXISTS {view}", f"CREATE VIEW {view} AS\n{select}"]


def full_name(schema: Schema, dialect: Dialect) -> str:
    """The view's name with its schema, quoted where need be."""
    quote = dialect.identifier_preparer.quote
    bare = quote(schema.table_name(NAME))
    return bare if schema.namespace is None else f"{quote(schema.namespace)}.{bare}"


def _seconds(start: str, end: str) -> str:
    return f"CAST(EXTRACT(EPOCH FROM ({end} - {start})) AS double precision)"


def _days(start: str, end: str) -> str:
    return f"((julianday({end}) - julianday({start})) * 86400.0)"


# What waits has waited since lanes could come: those that did come are at something else.
_READY_AT = "{most}(COALESCE(r.ready_at, r.submitted_at), COALESCE(r.not_before, r.submitted_at))"
# Asked once a statement: a clock that moves is nothing to look up in an index.
_PG_NOW = "(SELECT clock_timestamp())"
_POSTGRESQL = {
    # Those in hand have no time yet; lanes carve many chunks at once when they are short.
    "last_ones": f"{_PACE_CHUNKS} + s.in_hand",
    "now": _PG_NOW,
    "lately": f"(SELECT clock_timestamp() - interval '{_RATE_SECONDS} seconds')",
    "due_seconds": _seconds("min(w.not_before)", _PG_NOW),
    "ready_seconds": _seconds(_READY_AT.format(most="GREATEST"), _PG_NOW),
    "seconds_left": _seconds(_PG_NOW, "r.finish_by"),
    "most": "GREATEST",
    "least": "LEAST",
    "ceiling": "ceil(t.slots)",
}
_NOW = "strftime('%Y-%m-%d %H:%M:%f', 'now')"
_SQLITE = {
    # Its LIMIT knows nothing of the query around it. So many, because there are few lanes.
    "last_ones": "2500",
    "now": _NOW,
    "lately": f"strftime('%Y-%m-%d %H:%M:%f', 'now', '-{_RATE_SECONDS} seconds')",
    "due_seconds": _days("min(w.not_before)", _NOW),
    "ready_seconds": _days(_READY_AT.format(most="max"), _NOW),
    "seconds_left": _days(_NOW, "r.finish_by"),
    "most": "max",
    "least": "min",
    # Not every SQLite has ceil().
    "ceiling": "(CAST(t.slots AS bigint) + (t.slots > CAST(t.slots AS bigint)))",
}
