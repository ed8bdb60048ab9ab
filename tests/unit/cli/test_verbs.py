"""What each verb prints, for people and for programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from breakbulk.domain.throttle import OPTIONS
from breakbulk.ledger.schema import HEAD

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Shop

_CALL = 'reprice(factor=2, password="***")'


def test_jobs(shop: Shop) -> None:
    shop.open()
    assert shop("jobs").stdout == (
        "mend  Mend some products.\n"
        "    -p only: list[int] (required)\n"
        "    500 rows a chunk, queue repairs, at most 1 lane\n"
        "reprice  Recalculate every price.\n"
        "    -p factor: int = 2\n"
        "    -p password: str = ***\n"
        "    2 rows a chunk, queue celery\n"
    )


def test_jobs_as_json(shop: Shop) -> None:
    shop.open()
    reprice = shop.json("jobs")["jobs"][1]
    assert reprice == {
        "name": "reprice",
        "doc": "Recalculate every price.",
        "parameters": [
            {
                "name": "factor",
                "type": "int",
                "required": False,
                "default": 2,
                "masked": False,
            },
            {
                "name": "password",
                "type": "str",
                "required": False,
                "default": "***",
                "masked": True,
            },
        ],
        "chunk_size": 2,
        "chunk_seconds": None,
        "max_retries": 0,
        "retry_delay": 0,
        "retry_backoff": 0.0,
        "retry_backoff_max": 600.0,
        "retry_jitter": True,
        "retry_for": [],
        "give_up_for": [],
        "on_failure": "isolate",
        "tolerate": 1000,
        "chunk_timeout": 3600.0,
        "max_lanes": None,
        "throttle": dict.fromkeys(OPTIONS),
        "queue": "celery",
    }


def test_plan_writes_nothing(shop: Shop) -> None:
    shop.open()
    result = shop("plan", "Reprice", "-p", "factor=3")
    assert result.stdout == (
        'reprice(factor=3, password="***")\n'
        "  rows         ≈ 5\n"
        "  chunks       ≈ 3 of 2 rows\n"
        "  key          id\n"
        "  first chunk  up to [2]\n"
        "  walked to    [5], the last key of the table\n"
        "  sample keys  [1] [2] [3] [4] [5]\n"
        "  queue        celery\n"
    )
    assert result.stderr.startswith("Nothing was written. Start it with: breakbulk -A shopfront")
    assert result.stderr.endswith(" run reprice -p factor=3\n")
    assert shop.json("runs")["runs"] == []


def test_plan_needs_no_tables_of_ours(shop: Shop) -> None:
    shop.open()
    shop.sql("DROP TABLE breakbulk_schema_version")
    assert shop.json("plan", "reprice")["rows_estimate"] == 5


def test_plan_of_nothing(shop: Shop) -> None:
    shop.open(rows=0)
    told = shop("plan", "reprice").stdout
    assert "first chunk  there are no rows" in told
    assert "walked to    there are no rows" in told


def test_plan_says_how_to_start_what_was_planned(shop: Shop) -> None:
    shop.open()
    given = ("-p", "only:=[1, 3]", "--queue", "at night")
    told = shop("plan", "mend", *given).stderr
    assert told.endswith(" run mend -p 'only:=[1, 3]' --queue 'at night'\n")
    secret = shop("plan", "reprice", "-p", "password=hunter2").stderr
    assert "hunter2" not in secret
    assert secret.endswith(" run reprice -p 'password=…'\n")


def test_structured_parameters_come_as_json(shop: Shop) -> None:
    shop.open()
    assert shop.json("plan", "mend", "-p", "only:=[1,3]")["parameters"] == {"only": [1, 3]}


def test_run_tells_when_nobody_would_work(shop: Shop) -> None:
    shop.open()
    result = shop("run", "reprice", "--queue", "night")
    assert result.exit_code == 0
    assert result.stdout == f"Run 1 of {_CALL} is submitted, ≈ 5 rows.\n"
    assert result.stderr == (
        "No worker consumes the queue 'night' now. Run 1 starts when one does.\n"
        "Watch it with: breakbulk -A shopfront:bulk watch 1\n"
    )


def test_run_with_the_same_idempotency_key(shop: Shop) -> None:
    shop.open()
    first = shop.json("run", "reprice", "--idempotency-key", "a")
    again = shop.json("run", "reprice", "--idempotency-key", "a")
    assert (first["created"], again["created"]) == (True, False)
    assert again["run"] == first["run"]
    told = shop("run", "reprice", "--idempotency-key", "a").stdout
    assert told == (
        f"Run 1 of {_CALL} was submitted before with this idempotency key; it is running.\n"
    )


def test_run_that_waits_for_another(shop: Shop) -> None:
    shop.open()
    shop("run", "reprice")
    assert shop("run", "reprice", "--overlap", "wait").stdout == (
        f"Run 2 of {_CALL} is submitted (waits for run 1 of the same job to end).\n"
    )


def test_run_that_starts_later(shop: Shop) -> None:
    shop.open()
    result = shop("run", "reprice", "--eta", "2126-01-31T23:00+01:00")
    assert result.stdout == (
        f"Run 1 of {_CALL} is submitted, ≈ 5 rows; it starts at 2126-01-31 22:00:00 UTC.\n"
    )
    assert result.stderr == "Watch it with: breakbulk -A shopfront:bulk watch 1\n"
    status = shop("status", "1").stdout
    assert "waiting: it starts at 2126-01-31 22:00:00 UTC" in status
    assert shop.json("runs")["runs"][0]["not_before"] == "2126-01-31T22:00:00+00:00"
    later = shop.json("run", "reprice", "-p", "factor=3", "--countdown", "3600")
    assert later["run"]["not_before"] > later["run"]["submitted_at"]


def test_lanes(shop: Shop) -> None:
    shop.open()
    shop("run", "reprice")
    assert shop("lanes", "1", "1").stdout == "Run 1 may have 1 lane from now on.\n"
    assert shop.json("lanes", "1", "12") == {"run": 1, "max_lanes": 12}
    assert shop.json("status", "1")["run"]["max_lanes"] == 12
    everything = "Run 1 may have as many lanes as workers have slots from now on.\n"
    assert shop("lanes", "1", "all").stdout == everything
    for nonsense in ("0", "-3", "many", "99999999999"):
        assert shop("lanes", "1", "--", nonsense).exit_code == 2
    shop("cancel", "1")
    ended = shop("lanes", "1", "2")
    assert ended.exit_code == 1
    assert ended.stderr == "Error: Run 1 has ended (cancelled): it has no lanes any more.\n"


def test_limits(shop: Shop) -> None:
    shop.open()
    shop("run", "reprice", "--max-lanes", "2", "--only", "22:00-06:00")
    shown = shop("status", "1").stdout
    assert "  limits     only 22:00-06:00\n" in shown
    assert shop.json("status", "1")["run"]["max_lanes"] == 2
    told = shop("limit", "1", "--max-rows-per-second", "500", "--only", "none")
    assert told.stdout == "Run 1 holds back on this from now on: at most 500 rows/s.\n"
    left = shop.json("limit", "1", "--max-rows-per-second", "none")
    assert left == {"run": 1, "throttle": dict.fromkeys(OPTIONS)}
    verbs = [one["verb"] for one in shop.json("status", "1")["activity"]]
    assert verbs == ["limits", "limits", "submitted"]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ([], "Name a limit"),
        (["--only", "at night"], "'at night' must be hours as in"),
        (["--max-lock-waits", "1.5"], "'1.5' must be a whole number from 0 up, or 'none'."),
        (["--max-rows-per-second", "nan"], "must be a number of rows above 0"),
        (["--max-replica-lag", "5"], "max_replica_lag needs PostgreSQL"),
    ],
)
def test_limits_that_cannot_be(shop: Shop, given: list[str], says: str) -> None:
    shop.open()
    shop("run", "reprice")
    refused = shop("limit", "1", *given)
    assert refused.exit_code == 2
    assert says in " ".join(refused.stderr.split())


def test_report(shop: Shop) -> None:
    shop.open(eager=True)
    shop("run", "reprice")
    told = shop("report", "1", "-o", "night.html")
    assert told.stdout == "The report of run 1 is in night.html.\n"
    written = Path("night.html").read_text(encoding="utf-8")
    assert "<h1>Run 1 <span>reprice</span>" in written
    assert "s3cret" not in written
    assert shop("report", "1", "-o", "-").stdout.startswith("<!doctype html>")
    assert shop("report", "1", "-o", "nowhere/at/all.html").exit_code == 1
    shop("report", "1")
    assert Path("run-1.html").exists()


def test_secrets_of_jobs_unknown_here_stay_hidden(shop: Shop) -> None:
    shop.open()
    shop("run", "reprice")
    shop.sql("UPDATE breakbulk_runs SET job = 'elsewhere'")
    assert shop.json("status", "1")["run"]["parameters"] == {"factor": "***", "password": "***"}


def test_runs_by_pages(shop: Shop) -> None:
    shop.open()
    for factor in range(3):
        shop("run", "reprice", "-p", f"factor={factor}")
    shop("pause", "2")
    page = shop.json("runs", "--limit", "2")
    assert [run["id"] for run in page["runs"]] == [3, 2]
    assert [run["id"] for run in shop.json("runs", "--before", str(page["before"]))["runs"]] == [1]
    assert [run["id"] for run in shop.json("runs", "--status", "paused")["runs"]] == [2]
    assert shop.json("runs", "--job", "mend")["runs"] == []
    lines = shop("runs", "--limit", "2")
    assert lines.stdout.splitlines()[0].split() == [
        "RUN", "STATUS", "JOB", "SUBMITTED", "ROWS", "REASON",
    ]  # fmt: skip
    assert lines.stdout.splitlines()[2].startswith("2    paused   reprice(factor=1, ")
    assert "Older ones: breakbulk -A shopfront:bulk runs --before 2" in lines.stderr


def test_nothing_to_list_is_said(shop: Shop) -> None:
    shop.open()
    assert shop("runs").stdout == (
        "There are no runs yet. Start one with: breakbulk -A shopfront:bulk run JOB\n"
    )
    assert shop.json("runs") == {"runs": [], "before": None}
    shop("run", "reprice")
    assert shop("runs", "--status", "failed").stdout == "No run is like that.\n"
    assert shop("chunks", "1").stdout == "Run 1 has no chunks yet.\n"
    none = shop("chunks", "1", "--status", "failed")
    assert none.stdout == "Run 1 has no chunks like that.\n"
    assert shop.json("chunks", "1") == {"chunks": [], "after": None}
    shop.write("store", "from breakbulk import Breakbulk\nbulk = Breakbulk('sqlite://')\n")
    none = shop("jobs", target="store")
    assert (none.exit_code, none.stdout[:20]) == (0, "There are no jobs: d")


def test_status_of_an_ended_run(shop: Shop) -> None:
    shop.open(eager=True)
    shop("run", "reprice")
    result = shop("status", "1")
    assert result.exit_code == 0
    shown = [line.split(maxsplit=1) for line in result.stdout.splitlines()]
    assert result.stdout.startswith(f"Run 1: {_CALL}\n  status     succeeded\n")
    assert ["rows", "5 of 5 rows (100.0 %)"] in shown
    assert ["chunks", "3 done of 3"] in shown
    as_json = shop.json("status", "1")
    assert as_json["progress"]["rows_done"] == 5
    assert as_json["run"]["summary"]["chunks_done"] == 3
    assert as_json["activity"][-1]["verb"] == "submitted"


def test_status_shows_failures(shop: Shop) -> None:
    shop.open(eager=True)
    shop.sql("CREATE TRIGGER stop BEFORE UPDATE ON product BEGIN SELECT RAISE(ABORT, 'no!'); END")
    shop("run", "reprice")
    assert "failed: chunk 1, attempt 1, " in shop("status", "1").stdout
    assert "no!" in shop.json("status", "1")["failures"][0]["message"]


def test_pause_resume_cancel(shop: Shop) -> None:
    shop.open()
    shop("run", "reprice")
    paused = shop("pause", "1", "--reason", "the shop is open")
    assert shop.json("status", "1")["run"]["reason"] == "the shop is open"
    assert paused.stdout == "Run 1 is paused: nothing of it is at work.\n"
    assert paused.stderr == "Go on with: breakbulk -A shopfront:bulk resume 1\n"
    assert shop.json("resume", "1", "--reason", "night") == {"run": 1, "status": "running"}
    said = {one["verb"]: one["detail"] for one in shop.json("status", "1")["activity"]}
    assert (said["pausing"], said["resumed"]) == ("the shop is open", "night")
    cancelled = shop("cancel", "1", "--reason", "wrong price list")
    assert cancelled.exit_code == 0
    assert shop.json("status", "1")["run"]["reason"] == "wrong price list"
    refused = shop("pause", "1")
    assert refused.exit_code == 1
    assert "it cannot be paused any more" in refused.stderr


def test_chunks_by_pages(shop: Shop) -> None:
    shop.open(eager=True)
    shop("run", "reprice")
    result = shop("chunks", "1", "--limit", "2")
    assert [line.split()[:6] for line in result.stdout.splitlines()] == [
        ["CHUNK", "STATUS", "ROWS", "AFTER", "UP", "TO"],
        ["1", "succeeded", "2", "start", "[2]", "1"],
        ["2", "succeeded", "2", "[2]", "[4]", "1"],
    ]
    assert "More: breakbulk -A shopfront:bulk chunks 1 --after 2" in result.stderr
    rest = shop.json("chunks", "1", "--after", "2", "--status", "succeeded")
    assert [chunk["number"] for chunk in rest["chunks"]] == [3]
    assert rest["after"] is None
    wrong = shop("chunks", "1", "--after", "two")
    assert wrong.exit_code == 2
    assert "is not a chunk, as in 12, or 12.01 after a split." in wrong.stderr


def test_audit(shop: Shop) -> None:
    shop.open(eager=True)
    shop("run", "reprice")
    clean = shop("audit", "1")
    assert (clean.exit_code, clean.stdout) == (
        0,
        "Run 1 is clean: 5 rows in 3 chunks done, no gap and no overlap.\n",
    )
    shop.sql("UPDATE breakbulk_chunks SET upto = '[3]' WHERE number = 1")
    wrong = shop("audit", "1")
    assert wrong.exit_code == 1
    assert "WRONG: chunk 2 ([2], [4]] does not begin where the chunk before it ends ([3]):" in (
        wrong.stdout
    )
    assert wrong.stdout.endswith("Run 1 has 1 thing wrong: 5 rows in 3 chunks done.\n")
    as_json = shop("audit", "1", "--json")
    assert as_json.exit_code == 1
    assert shop.json("audit", "1")["clean"] is False


def test_audit_of_a_partial_run_names_what_was_not_done(shop: Shop) -> None:
    shop.open(eager=True)
    shop.sql("UPDATE product SET price = 'none' WHERE id = 3")
    assert shop("run", "reprice", "--watch").exit_code == 3
    assert shop("audit", "1").stdout.endswith(
        "no gap and no overlap; 1 row in quarantine was not done.\n"
    )
    told = shop.json("audit", "1")
    assert (told["clean"], told["rows_not_done"]) == (True, 1)
    shop.sql("UPDATE breakbulk_chunks SET status = 'skipped' WHERE number = 1")
    assert shop("audit", "1").stdout.endswith(
        "; 1 row in quarantine was not done; 2 rows of chunks that were skipped or failed were not"
        " done.\n"
    )


def test_db(shop: Shop) -> None:
    shop.open()
    assert shop("db", "upgrade").stdout == f"The ledger's tables are of version {HEAD} already.\n"
    assert shop.json("db", "upgrade") == {"before": HEAD, "now": HEAD, "changed": False}
    assert "CREATE TABLE breakbulk_runs" in shop("db", "upgrade", "--sql").stdout
    assert shop("db", "status").stdout == f"The ledger's tables are of version {HEAD}, as needed.\n"
    assert shop.json("db", "status") == {"found": HEAD, "needed": HEAD, "fits": True}


def test_db_status_of_no_tables(shop: Shop) -> None:
    shop.open()
    shop.sql("DROP TABLE breakbulk_schema_version")
    assert shop("db", "status").exit_code == 7
    result = shop("db", "status", "--json")
    assert result.exit_code == 7
    assert '"found": null' in result.stdout


@pytest.mark.parametrize("broker", ["memory://", "redis://127.0.0.1:1/0"])
def test_doctor(shop: Shop, broker: str) -> None:
    shop.open(broker=broker)
    result = shop("doctor")
    document = shop.json("doctor")
    reachable = broker == "memory://"
    assert result.exit_code == document["exit_code"] == (0 if reachable else 7)
    assert "warning No worker is alive, so nothing is processed.\n" in result.stdout
    assert "        → Start one with: celery -A … worker\n" in result.stdout
    assert result.stdout.endswith(f"Errors: {0 if reachable else 1}. Warnings: {1 + reachable}.\n")
    broker_is = {one["severity"] for one in document["findings"] if one["subject"] == "broker"}
    assert broker_is == ({"ok", "warning"} if reachable else {"error"})


def test_doctor_finds_a_run_that_nobody_can_work_on(shop: Shop) -> None:
    shop.open()
    shop("run", "reprice")
    result = shop("doctor")
    assert result.exit_code == 1
    assert "error   No worker is alive, so nothing is processed." in result.stdout
