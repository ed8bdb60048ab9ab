"""Lists page by page, and what is known already."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from breakbulk.web.api.contract import ROOT
from tests.integration.web.conftest import part
from tests.support.machines import RUNS, walked
from tests.support.yard import tell

if TYPE_CHECKING:
    from webtest import TestApp

    from breakbulk import RunHandle
    from tests.support.yard import Yard


def test_lists_go_on_page_by_page(yard: Yard, looker: TestApp, partial: RunHandle) -> None:
    for _ in range(3):
        yard.run(finished=tell)
    url = f"{RUNS}/{partial.id}"
    lists: dict[str, list[Any]] = {
        f"{RUNS}?": [run.id for run in yard.bulk.runs()],
        f"{RUNS}?status=partial&status=failed&": [partial.id],
        f"{RUNS}?job=nobody&": [],
        f"{RUNS}?job={quote(partial.record().job)}&": [partial.id],
        f"{url}/chunks?": [chunk.name for chunk in partial.chunks()],
        f"{url}/chunks?status=failed&": [row.chunk for row in partial.errors()],
        f"{url}/failures?": [one.id for one in partial.failures(100)],
        f"{url}/failures?error=nobody&": [],
        f"{url}/quarantine?": [row.id for row in partial.errors()],
        f"{url}/activity?": [one.id for one in partial.activity()],
    }
    for path, expected in lists.items():
        name = "name" if "chunks" in path else "id"
        for limit in (1, 2, 100):
            found = walked(looker, f"{path}limit={limit}")
            assert [one[name] for one in found] == expected, path


def test_a_page_can_be_gone_on_from_as_it_is_told(yard: Yard, looker: TestApp) -> None:
    for _ in range(2):
        yard.run()
    told = looker.get(f"{RUNS}?limit=1").json["next"]
    assert told.startswith(f"http://localhost{RUNS}?limit=1&cursor=")


def test_chunks_go_on_behind_every_part_that_splits_give(yard: Yard, looker: TestApp) -> None:
    handle = yard.run()
    part(yard, handle, "a", "ab01", "b", "b1", number=2)
    part(yard, handle, "0", "01", "1", number=3)
    names = ["1", "2", "2.a", "2.ab01", "2.b", "2.b1", "3", "3.0", "3.01", "3.1"]
    assert [one["name"] for one in walked(looker, f"{RUNS}/{handle.id}/chunks?limit=1")] == names


def test_a_chunk_is_shown_with_its_relatives_and_failures(
    looker: TestApp, partial: RunHandle
) -> None:
    row = partial.errors()[0]
    found = looker.get(f"{RUNS}/{partial.id}/chunks/{row.chunk}").json
    assert found["chunk"]["name"] == row.chunk
    assert row.chunk not in {part["name"] for part in found["parts"]}
    assert str(row.number) in {part["name"] for part in found["parts"]}
    assert {one["chunk"] for one in found["failures"]} == {row.chunk}
    assert "Traceback" in found["failures"][0]["traceback"]


def test_failures_are_grouped(looker: TestApp, partial: RunHandle) -> None:
    (group,) = looker.get(f"{RUNS}/{partial.id}/failure-groups").json["items"]
    assert (group["error"], group["chunks"]) == ("tests.support.yard.Boom", 2)


def test_workers_are_listed(yard: Yard, looker: TestApp) -> None:
    yard.crew(slots=3)
    (worker,) = looker.get(f"{ROOT}/workers").json["items"]
    assert (worker["host"], worker["slots"], worker["draining"]) == ("here", 3, False)


def test_what_is_known_already_is_304(yard: Yard, looker: TestApp, partial: RunHandle) -> None:
    url = f"{RUNS}/{partial.id}"
    paths = ["", "/chunks", "/chunks/2", "/failures", "/failure-groups", "/quarantine", "/activity"]
    marks = {}
    for path in paths:
        first = looker.get(url + path)
        assert first.headers["Cache-Control"] == "private, no-cache"
        marks[path] = first.headers["ETag"]
        assert marks[path].startswith('W/"')
        same = looker.get(url + path, headers={"If-None-Match": marks[path]}, status=304)
        assert (same.body, same.headers["ETag"]) == (b"", marks[path])
        assert "Content-Type" not in same.headers
    assert len(set(marks.values())) == len(paths)
    partial.retry()
    for path, mark in marks.items():
        assert looker.get(url + path, headers={"If-None-Match": mark}).headers["ETag"] != mark


def known(looker: TestApp, path: str) -> str:
    """The mark of a look, with which the same look is a 304."""
    # What goes on is told anew every few seconds, whatever happens; that may be just now.
    for _ in range(3):
        mark = looker.get(path).headers["ETag"]
        answer = looker.get(path, headers={"If-None-Match": f'"other", {mark}'})
        if answer.status_int == 304:
            break
    assert answer.status_int == 304, path
    return mark


def test_the_list_of_runs_is_304_until_there_is_another(yard: Yard, looker: TestApp) -> None:
    yard.run()
    mark = known(looker, RUNS)
    looker.get(f"{RUNS}?limit=1", headers={"If-None-Match": mark}, status=200)
    yard.run()
    looker.get(RUNS, headers={"If-None-Match": mark}, status=200)


def test_workers_and_backlog_are_304_until_something_happens(yard: Yard, looker: TestApp) -> None:
    crew = yard.crew(slots=3)
    for path in (f"{ROOT}/workers", f"{ROOT}/backlog"):
        mark = known(looker, path)
        crew.draining = not crew.draining
        crew.tick()
        looker.get(path, headers={"If-None-Match": mark}, status=200)
        mark = known(looker, path)
        yard.crew()
        looker.get(path, headers={"If-None-Match": mark}, status=200)


def test_jobs_are_304_until_one_is_declared(yard: Yard, looker: TestApp, job: str) -> None:
    one, every = (known(looker, f"{ROOT}/jobs{path}") for path in (f"/{job}", ""))
    assert one != every
    yard.job(name="another.job")
    looker.get(f"{ROOT}/jobs/{job}", headers={"If-None-Match": one}, status=304)
    looker.get(f"{ROOT}/jobs", headers={"If-None-Match": every}, status=200)
    looker.get(f"{ROOT}/jobs/another.job", headers={"If-None-Match": one}, status=200)
