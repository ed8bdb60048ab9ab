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

from bench import addresses
from bench.figures import Findings
from bench.history import CHUNKS, FAILED_EVERY, RUNS, fill
from bench.stage import Stage
from breakbulk.web import Access, make_wsgi_app

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
        **{name: (path, {}) for name, path in addresses.pages(whole, going).items()},
        **{f"api: {name}": (path, known) for name, path in addresses.reads(whole, going).items()},
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
        found.add(name, "ms", values, limit=PAGE_MS, each=True)
    for name, values in again.items():
        found.add(f"{name}, nothing new", "ms", values, limit=POLL_MS, each=True)
    found.notes.append(f"the ledger was filled in {filled:.0f} s")
    return found


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
