"""A ledger as after months of work, written by SQL: one run of a million chunks among many."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Table, text

from bench import shop
from bench.stage import Stage
from breakbulk.domain.run import Summary

CHUNKS, SIZE, RUNS = 1_000_000, 500, 200
FAILED_EVERY = 20
ATTEMPTS = 2
#: That somebody outside was told of each of the two long runs.
EVENTS = 2_000
_LANES = 8
_LEASE_SECONDS = 3_600
_TRACEBACK = "Traceback (most recent call last):\n" + "  in a file, at a line, a call\n" * 40


def fill(stage: Stage) -> tuple[int, int]:
    """Write a history, a run that has ended, and one at 40 %; the ids of the two."""
    template = stage.bulk.submit(shop.Nothing(rows=1000), overlap="allow")
    schema = stage.bulk.runtime.database.schema
    with stage.engine.begin() as connection:

        def run(sql: str, **values: Any) -> None:
            connection.execute(text(sql), values)

        first = template.id + 1
        whole, going = first + RUNS - 2, first + RUNS - 1
        small = Summary(5_000, 0, 0, 10, 0, 0, 12.5)
        _copy_runs(run, schema.runs, template.id, first, small)
        failed = CHUNKS // FAILED_EVERY
        summary = Summary(
            (CHUNKS - failed) * SIZE, failed * SIZE, 0, CHUNKS - failed, failed, failed * 2, 18_000
        )
        run(
            f"UPDATE {schema.runs.fullname} SET status = 'partial', summary = :summary,"
            " started_at = submitted_at WHERE id = :id",
            id=whole,
            summary=json.dumps(summary.as_dict()),
        )
        run(
            f"UPDATE {schema.runs.fullname} SET status = 'running', finished_at = NULL,"
            " summary = NULL, started_at = submitted_at, rows_estimate = :rows WHERE id = :id",
            id=going,
            rows=CHUNKS * SIZE,
        )
        run(
            f"INSERT INTO {schema.carves.fullname} (run_id, exhausted_at)"
            f" SELECT id, finished_at FROM {schema.runs.fullname} WHERE id >= {first}"
        )
        for run_id in range(first, whole):
            _chunks(run, schema.chunks, run_id, 10, "'succeeded'")
        failing = f"CASE WHEN n % {FAILED_EVERY} = 0 THEN 'failed' ELSE 'succeeded' END"
        _chunks(run, schema.chunks, whole, CHUNKS, failing)
        part = CHUNKS * 2 // 5
        state = f"CASE WHEN n > {part} - 100 THEN 'carved' WHEN n % 997 = 0 THEN 'waiting'"
        _chunks(run, schema.chunks, going, part, f"{state} {failing[4:]}")
        for run_id, chunks in ((whole, CHUNKS), (going, part)):
            _failures(run, schema, run_id, chunks)
            _tallies(run, schema.tallies, run_id)
            _stays(run, schema.stays, run_id)
            _events(run, schema, run_id)
        _people(run, schema, going)
    stage.bulk.run(template.id).cancel()
    with stage.bulk.runtime.database.transaction() as connection:
        stage.bulk.runtime.ledger.folding.fold(connection, 120.0)
    tables = ", ".join(table.fullname for table in schema.metadata.tables.values())
    stage.run(f"VACUUM ANALYZE {tables}", "CHECKPOINT")
    return whole, going


def _copy_runs(run: Any, runs: Table, template: int, first: int, summary: Summary) -> None:
    changed = {
        "id": f"{first} + n",
        "status": "'succeeded'",
        "submitted_at": f"clock_timestamp() - ({RUNS} - n) * interval '1 hour'"
        " - interval '5 hours'",
        "finished_at": f"clock_timestamp() - ({RUNS} - n) * interval '1 hour'",
        "slot": "NULL",
        "submitted_by": "'bench'",
        "summary": ":summary",
        "chunk_size": str(SIZE),
    }
    names = [column.name for column in runs.columns]
    run(
        f"INSERT INTO {runs.fullname} ({', '.join(names)})"
        f" SELECT {', '.join(changed.get(name, name) for name in names)}"
        f" FROM {runs.fullname}, generate_series(0, {RUNS - 1}) AS n WHERE id = {template}",
        summary=json.dumps(summary.as_dict()),
    )


def _chunks(run: Any, chunks: Table, run_id: int, count: int, status: str) -> None:
    run(
        f"INSERT INTO {chunks.fullname} (run_id, number, path, status, owner, lane, after, upto,"
        " rows, rows_upto, attempt, seconds, ended_at)"
        f" SELECT {run_id}, n, '', status, NULL, n % {_LANES},"
        f" CASE WHEN n > 1 THEN '[' || (n - 1) * {SIZE} || ']' END, '[' || n * {SIZE} || ']',"
        f" {SIZE}, n::bigint * {SIZE}, CASE WHEN status = 'failed' THEN {ATTEMPTS} ELSE 1 END,"
        " 0.1 + n % 89 / 500.0, clock_timestamp()"
        f" FROM (SELECT n, {status} AS status FROM generate_series(1, {count}) AS n) AS numbered"
    )


def _failures(run: Any, schema: Any, run_id: int, chunks: int) -> None:
    # Twelve kinds, and one that is rare and lies long back.
    run(
        f"INSERT INTO {schema.failures.fullname} (run_id, round, at, number, path, attempt, error,"
        " message, place, traceback, after, upto, rows, worker, host, seconds)"
        f" SELECT {run_id}, 1, clock_timestamp() - ({chunks} - n) * interval '0.018 seconds',"
        f" n, '', attempt, CASE WHEN n < {FAILED_EVERY * 4} THEN 'shop.Rare'"
        f" ELSE 'shop.Trouble' || n / {FAILED_EVERY} % 4 END,"
        " 'it said ' || n, 'shop.py:' || n % 3, :traceback, NULL, '[' || n || ']', 500,"
        " 'celery@here', 'here', 0.2"
        f" FROM generate_series({FAILED_EVERY}, {chunks}, {FAILED_EVERY}) AS n,"
        f" generate_series(1, {ATTEMPTS}) AS attempt ORDER BY n",
        traceback=_TRACEBACK,
    )
    run(
        f"INSERT INTO {schema.failure_tallies.fullname} (run_id, error, place, attempts, chunks,"
        " first_at, last_at, failure_id) SELECT run_id, error, place, 1,"
        " CASE WHEN attempt = 1 THEN 1 ELSE 0 END, at, at, id"
        f" FROM {schema.failures.fullname} WHERE run_id = {run_id}"
    )
    run(
        f"INSERT INTO {schema.quarantine.fullname} (run_id, number, path, key, error, message,"
        " place, traceback, attempts, round, at)"
        " SELECT run_id, number, path, upto, error, message, place, traceback, 2, 1, at"
        f" FROM {schema.failures.fullname} WHERE run_id = {run_id} AND attempt = {ATTEMPTS}"
    )


def _tallies(run: Any, tallies: Table, run_id: int) -> None:
    # Five hours, a tally a second for each lane in the last two minutes, one a minute before.
    for lane, since, step in (*((lane, 120, 1) for lane in range(_LANES)), (-1, 18_000, 60)):
        run(
            f"INSERT INTO {tallies.fullname} (run_id, at, lane, chunks, rows)"
            f" SELECT {run_id}, clock_timestamp() - n * interval '1 second', {lane},"
            f" 2 * {step}, 1000 * {step} FROM generate_series(1, {since}, {step}) AS n"
        )


def _stays(run: Any, stays: Table, run_id: int) -> None:
    # Five hours of slices of five seconds.
    run(
        f"INSERT INTO {stays.fullname} (run_id, lane, host, pid, started_at, ended_at)"
        f" SELECT {run_id}, lane, 'host' || lane % 4, 100,"
        " clock_timestamp() - (n + 1) * interval '5 seconds',"
        " clock_timestamp() - n * interval '5 seconds'"
        f" FROM generate_series(0, {_LANES - 1}) AS lane, generate_series(0, 3_600) AS n"
    )


def _events(run: Any, schema: Any, run_id: int) -> None:
    run(
        f"INSERT INTO {schema.events.fullname} (run_id, type, at, message_id, payload)"
        f" SELECT {run_id}, 'run.paused', clock_timestamp(), 'msg_' || n, '{{}}'"
        f" FROM generate_series(1, {EVENTS}) AS n"
    )
    run(
        f"INSERT INTO {schema.deliveries.fullname} (event_id, run_id, endpoint_id, status,"
        " tries, not_before, created_at, ended_at) SELECT id, run_id, 1, 'delivered', 1, at, at, at"
        f" FROM {schema.events.fullname} WHERE run_id = {run_id}"
    )


def _people(run: Any, schema: Any, run_id: int) -> None:
    for number in range(4):
        run(
            f"INSERT INTO {schema.workers.fullname} (id, host, pid, slots, pool, queues, jobs,"
            " version, registered_at, healthy_since, lease_until, draining)"
            " VALUES (gen_random_uuid(), :host, 100, 2, 'prefork', '[\"celery\"]', :jobs, '0',"
            " clock_timestamp(), clock_timestamp(),"
            f" clock_timestamp() + interval '{_LEASE_SECONDS} seconds', false)",
            host=f"host{number}",
            jobs=json.dumps([spec.name for spec in shop.bulk.jobs]),
        )
    run(
        f"INSERT INTO {schema.lanes.fullname} (run_id, number, token, worker_id, pid,"
        " process_started, started_at)"
        f" SELECT {run_id}, row_number() OVER () - 1, gen_random_uuid(), id, 100, 0,"
        f" clock_timestamp() FROM {schema.workers.fullname}, generate_series(1, 2)"
    )
    run(
        f"INSERT INTO {schema.activity.fullname} (run_id, at, actor, verb, detail)"
        f" SELECT {run_id}, clock_timestamp(), 'ana', 'pausing', 'so that the night is quiet'"
        " FROM generate_series(1, 200)"
    )
