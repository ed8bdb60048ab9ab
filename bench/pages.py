"""How long the dashboard's pages and the API's reads take with a million chunks in the ledger.

The ledger is filled by SQL, and the real WSGI application is called in this process, so what is
timed is what a server's thread is busy with: the queries and the page. The API is asked with a
token, as a machine does.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Mapping
from typing import Any

from webob import Request

from bench.figures import Findings
from bench.history import CHUNKS, FAILED_EVERY, RUNS, fill
from bench.stage import Stage
from breakbulk.web import Access, make_wsgi_app
from breakbulk.web.api import contract

ROUNDS = 15
PAGE_MS, POLL_MS = 50, 5


def measure(stage: Stage, pairs: int | None) -> Findings:
    """Fill the ledger, then ask for every page and every read in turn, several times."""
    began = time.perf_counter()
    whole, going = fill(stage)
    filled = time.perf_counter() - began
    app = make_wsgi_app(stage.bulk, access=lambda _environ: Access("bench", "operate"))
    known = {"Authorization": f"Bearer {stage.bulk.tokens.create('bench').text}"}
    asked: dict[str, tuple[str, dict[str, str]]] = {
        **{name: (path, {}) for name, path in _pages(whole, going).items()},
        **{f"api: {name}": (path, known) for name, path in _reads(whole, going).items()},
    }
    # The first look connects, and compiles statements and templates.
    tags = {name: _tag(_get(app, path, headers)[1]) for name, (path, headers) in asked.items()}
    # As ``breakbulk serve`` does.
    gc.collect()
    gc.freeze()
    times: dict[str, list[float]] = {name: [] for name in asked}
    again: dict[str, list[float]] = {name: [] for name, tag in tags.items() if tag}
    for _ in range(pairs or ROUNDS):
        for name, (path, headers) in asked.items():
            times[name].append(_get(app, path, headers)[0])
        for name, seen in again.items():
            path, headers = asked[name]
            while True:
                seconds, answer = _get(app, path, {**headers, **tags[name]}, status=(200, 304))
                if answer.status_int == 304:
                    seen.append(seconds)
                    break
                # Something that is told once in a while, such as the time, was told anew.
                tags[name] = _tag(answer)
    found = Findings(
        "pages",
        f"server time; {RUNS} runs, one of {CHUNKS:,} chunks, {CHUNKS // FAILED_EVERY:,} of them"
        " failed",
    )
    for name, values in times.items():
        found.add(name, "ms", values, limit=PAGE_MS)
    for name, values in again.items():
        found.add(f"{name}, nothing new", "ms", values, limit=POLL_MS)
    found.notes.append(f"the ledger was filled in {filled:.0f} s")
    return found


def _pages(whole: int, going: int) -> dict[str, str]:
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
        "chunk in hand": f"/runs/{going}/chunks/{CHUNKS * 2 // 5 - 99}",
        "failures": f"{run}/failures",
        "failures of one kind": f"{run}/failures?error=shop.Trouble3",
        "failures of a rare kind": f"{run}/failures?error=shop.Rare",
        "workers": "/workers",
        "webhooks of a run": f"/webhooks?run={whole}",
        "report": f"{run}/report",
    }


def _reads(whole: int, going: int) -> dict[str, str]:
    """Every read that the document has, with the most that a page may hold."""
    values = {"job": "bench.shop.Nothing", "run": str(whole), "chunk": "500000"}
    paged = {"runs", "chunks", "activity", "failures", "quarantine"}
    reads = {
        path: contract.ROOT
        + path.format_map(values)
        + ("?limit=100" if path.rpartition("/")[2] in paged else "")
        for path, known in contract.document()["paths"].items()
        if "get" in known
    }
    root = f"{contract.ROOT}/runs"
    return reads | {
        "/runs, partial": f"{root}?limit=100&status=partial&status=failed",
        "/runs/{run} at 40 %": f"{root}/{going}",
        "/runs/{run}/chunks, failed ones": f"{root}/{whole}/chunks?limit=100&status=failed",
    }


def _tag(answer: Any) -> dict[str, str]:
    """What to send to be told only of what is new; nothing where that cannot be asked."""
    if "HX-PTag" in answer.headers:
        return {"HX-Request": "true", "HX-PTag": answer.headers["HX-PTag"]}
    return {"If-None-Match": answer.headers["ETag"]} if "ETag" in answer.headers else {}


def _get(
    app: Any, path: str, headers: Mapping[str, str], status: tuple[int, ...] = (200,)
) -> tuple[float, Any]:
    """Milliseconds, and the answer."""
    request = Request.blank(path, headers=dict(headers))
    began = time.perf_counter()
    answer = request.get_response(app)
    body = answer.body
    seconds = time.perf_counter() - began
    if answer.status_int not in status:
        raise RuntimeError(f"{path} gave {answer.status}: {body[:500]!r}")
    return seconds * 1000, answer
