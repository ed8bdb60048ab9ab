"""What is asked for when pages and reads are measured.

It knows no application, so that a test may look at it without declaring a job.
"""

from __future__ import annotations

from breakbulk.web.api import contract

#: A chunk that a lane has in hand, in the run that is at 40 % of a million.
IN_HAND = 1_000_000 * 2 // 5 - 99


def pages(whole: int, going: int) -> dict[str, str]:
    """Every page of the dashboard."""
    run = f"/runs/{whole}"
    return {
        "overview": "/",
        "runs, searched": "/runs?status=partial&by=bench&since=24+h",
        "runs": "/runs",
        "jobs": "/jobs",
        "job": "/jobs/bench.shop.Nothing",
        "run at 40 %": f"/runs/{going}",
        "run at 100 %, 50,000 failed": run,
        "chunks": f"{run}/chunks",
        "chunks from 500,000": f"{run}/chunks?from=500000",
        "failed chunks from 900,000": f"{run}/chunks?status=failed&after=900000",
        "chunk that has failed": f"{run}/chunks/500000",
        "chunk that was done": f"{run}/chunks/500001",
        "chunk in hand": f"/runs/{going}/chunks/{IN_HAND}",
        "failures": f"{run}/failures",
        "failures of one kind": f"{run}/failures?error=shop.Trouble3",
        "failures of a rare kind": f"{run}/failures?error=shop.Rare",
        "workers": "/workers",
        "webhooks": "/webhooks",
        "webhooks of a run": f"/webhooks?run={whole}",
        "delivery": "/webhooks/deliveries/1",
        "report": f"{run}/report",
        "metrics": "/metrics",
    }


def reads(whole: int, going: int) -> dict[str, str]:
    """Every read that the document has, with the most that a page may hold."""
    values = {"job": "bench.shop.Nothing", "run": str(whole), "chunk": "500000"}
    paged = {"runs", "chunks", "activity", "failures", "quarantine"}
    found = {
        path: contract.ROOT
        + path.format_map(values)
        + ("?limit=100" if path.rpartition("/")[2] in paged else "")
        for path, known in contract.document()["paths"].items()
        if "get" in known
    }
    root = f"{contract.ROOT}/runs"
    return found | {
        "/runs, partial": f"{root}?limit=100&status=partial&status=failed",
        "/runs/{run} at 40 %": f"{root}/{going}",
        "/runs/{run}/chunks, failed ones": f"{root}/{whole}/chunks?limit=100&status=failed",
    }
