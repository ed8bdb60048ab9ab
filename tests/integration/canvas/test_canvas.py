"""Groups, chords and chains on each database, with lanes in this process."""

from __future__ import annotations

import json
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from breakbulk import RunStatus
from breakbulk.canvas import chain, chord, group
from breakbulk.errors import CanvasError, PartFailed
from breakbulk.runner.reading import Batch
from tests.integration.canvas.conftest import Team

if TYPE_CHECKING:
    from collections.abc import Iterator


def test_a_chord_hands_results_over_in_header_order(team: Team) -> None:
    handle = chord([team.add.s(n, n) for n in range(10)])(team.tell.s("x"))
    assert (handle.state, handle.ready()) == ("PENDING", False)
    team.settle(handle)
    assert team.told_of("tell") == [[[2 * n for n in range(10)], "x"]]
    assert handle.get(timeout=0) == [2 * n for n in range(10)]
    assert (handle.state, handle.successful(), len(handle)) == ("SUCCESS", True, 10)
    assert list(handle.results()) == [2 * n for n in range(10)]


def test_a_group_gives_a_list(team: Team) -> None:
    handle = group(team.add.s(n, 1) for n in range(3)).delay()
    team.settle(handle)
    assert handle.get() == handle.join() == [1, 2, 3]
    assert (handle.results()[-1], handle.completed_count()) == (3, 3)


def test_an_immutable_body_needs_no_results(team: Team) -> None:
    handle = (group(team.add.s(n, n) for n in range(3)) | team.tell.si("done")).apply_async()
    team.settle(handle)
    assert handle.get() == "done"
    assert team.told_of("tell") == [["done"]]
    assert team.yard.count("results") == 1, "the body's own and no other"


@pytest.mark.parametrize("size", [0, 1])
def test_small_headers(team: Team, size: int) -> None:
    handle = chord([team.add.s(8, 8)] * size, team.tell.s()).apply_async()
    team.settle(handle)
    assert handle.get() == [16] * size
    assert team.told_of("tell") == [[[16] * size]]


def test_nothing_at_all(team: Team) -> None:
    handle = chord([], team.tell.s()).apply_async()
    team.settle(handle)
    assert handle.get() == []
    assert handle, "as in: if handle: handle.get()"
    assert len(handle) == 0


def test_empty_chains_count_for_nothing(team: Team) -> None:
    header = [team.add.s(1, 1), chain(), team.add.s(2, 2), chain()]
    handle = chord(header, team.tell.s()).apply_async()
    team.settle(handle)
    assert handle.get() == [2, 4]


def test_arguments_reach_every_part(team: Team) -> None:
    header = [team.add.s(1), team.add.s(2), team.add.si(3, 4)]
    handle = group(header).apply_async(args=(10,))
    team.settle(handle)
    assert handle.get() == [11, 12, 7]
    handle = group(header[:2]).apply_async(kwargs={"y": 5})
    team.settle(handle)
    assert handle.get() == [6, 7]


def test_a_list_can_be_applied_again(team: Team) -> None:
    whole = chord([team.add.s(1, 1)], team.tell.s())
    first, second = whole.apply_async(), whole.apply_async()
    team.settle(first, second)
    assert first.id != second.id
    assert team.told_of("tell") == [[[2]], [[2]]]


def test_a_generator_can_be_read_once(team: Team) -> None:
    whole = group(team.add.s(n) for n in range(2))
    whole.apply_async()
    with pytest.raises(CanvasError, match="can be read only once"):
        whole.apply_async()


def test_the_first_part_has_run_before_the_last_is_there(team: Team) -> None:
    crew = team.yard.crew()
    before: list[int] = []

    def parts() -> Iterator[Any]:
        for n in range(3):
            if n == 2:
                crew.work_until(lambda: team.told)
                before.append(len(team.told))
            yield team.tell.si(n, "told")

    handle = group(parts()).apply_async()
    team.settle(handle)
    assert before[0] > 0
    assert handle.get() == list(range(3))


def test_a_lazy_header_is_never_in_memory_whole(team: Team) -> None:
    """Whoever has read a signature lets go of it, at the latest with its batch."""
    size = 20_000
    alive = most = 0

    def gone() -> None:
        nonlocal alive
        alive -= 1

    def parts() -> Iterator[Any]:
        nonlocal alive, most
        for n in range(size):
            part = team.add.si(n)
            weakref.finalize(part, gone)
            alive += 1
            most = max(most, alive)
            yield part

    handle = chord(parts(), team.tell.si("done")).apply_async()
    assert len(handle) == size
    assert most <= Batch().most + 1


def test_parts_retry_by_themselves(team: Team) -> None:
    handle = group(team.flaky.s(n, n) for n in range(3)).apply_async()
    team.settle(handle)
    assert handle.get() == [[0, 0], [1, 1], [2, 2]]
    assert sorted(team.told_of("flaky")) == [[0, 0], [1, 0], [1, 1], [2, 0], [2, 1], [2, 2]]
    attempts = {one.number: one.attempt for one in handle.run.failures()}
    assert set(attempts) == {2, 3}


def test_max_retries_are_the_task_s_own(team: Team) -> None:
    handle = chord([team.flaky.s(1, 9), team.add.s(1)], team.tell.s()).apply_async()
    team.settle(handle)
    assert [retries for _, retries in team.told_of("flaky")] == [0, 1, 2, 3]
    assert handle.state == "FAILURE"
    with pytest.raises(PartFailed, match=r"Part 1 of run \d+ raised ValueError: try 3") as caught:
        handle.get()
    assert (caught.value.error, caught.value.part) == ("ValueError", 1)
    assert team.told_of("tell") == []
    assert handle.run.status() is RunStatus.PARTIAL


def test_a_failure_keeps_the_body_away_and_is_told_once(team: Team) -> None:
    team.broken = {3, 7}
    body = team.tell.s()
    body.link_error(team.new_errback.s())
    body.link_error(team.old_errback.s())
    handle = chord([team.add.s(n) for n in range(10)], body).apply_async()
    team.settle(handle)
    assert team.told_of("tell") == []
    ((task, words),) = team.told_of("new errback")
    assert task == "team.tell"
    assert words.startswith("Dependency ")
    assert words.endswith(" raised ValueError('3 is broken')")
    assert len(team.told_of("old errback")) == 1
    assert list(handle.results()) == [None if n in team.broken else n for n in range(10)]
    failure = handle.get(propagate=False)
    assert isinstance(failure, PartFailed)
    assert failure.part == 4
    # What Celery cannot: once the cause is gone the rest is done, and the body called.
    team.broken = set()
    handle.retry()
    team.settle(handle)
    assert handle.get() == list(range(10))
    assert team.told_of("tell") == [[list(range(10))]]
    assert len([one for one in team.told_of("add") if one[0] == 5]) == 1


@pytest.mark.parametrize("policy", ["isolate", "skip"])
def test_the_body_is_told_of_failures_where_they_are_allowed(team: Team, policy: str) -> None:
    team.broken = {1, 2}
    header = group([team.add.s(n) for n in range(4)], on_failure=policy)
    handle = (header | team.tell.s()).apply_async()
    team.settle(handle)
    ((summary,),) = team.told_of("tell")
    failures = summary.pop("failures")
    assert summary == {
        "run": int(handle.id),
        "status": "partial",
        "parts": 4,
        "succeeded": 2,
        "failed": 2 if policy == "isolate" else 0,
        "skipped": 0 if policy == "isolate" else 2,
    }
    assert [(one["part"], one["error"]) for one in failures] == [
        (2, "ValueError: 1 is broken"),
        (3, "ValueError: 2 is broken"),
    ]
    assert handle.successful()
    assert handle.get()["parts"] == 4


def test_the_first_failure_may_stop_it(team: Team) -> None:
    team.broken = {1}
    header = group([team.add.s(n) for n in range(50)], on_failure="stop")
    whole = header | team.tell.s()
    whole.link_error(team.new_errback.s())
    handle = whole.apply_async()
    team.settle(handle)
    assert handle.run.status() is RunStatus.FAILED
    assert len(team.told_of("add")) < 50
    assert [words[0] for words in team.told_of("new errback")] == ["team.tell"]
    assert team.told_of("tell") == []
    with pytest.raises(PartFailed, match="Part 2 of run"):
        handle.get()


def test_a_failing_body_calls_its_error_callbacks(team: Team) -> None:
    team.broken = {"body"}
    body = team.tell.s()
    body.link_error(team.new_errback.s())
    body.link_error(team.old_errback.s())
    handle = chord([team.add.s(1)], body).apply_async()
    team.settle(handle)
    assert team.told_of("new errback") == [["team.tell", "'the body is broken'"]]
    assert len(team.told_of("old errback")) == 1
    assert len(team.told_of("tell")) == 1
    record = handle.run.record()
    assert record.status is RunStatus.FAILED
    with pytest.raises(PartFailed, match="the body failed for good: KeyError") as caught:
        handle.get()
    assert (caught.value.error, caught.value.part) == ("KeyError", None)
    # An operator calls it again.
    team.broken = set()
    handle.run.finish()
    team.settle(handle)
    assert handle.get() == [1]


def test_the_body_retries_by_itself(team: Team) -> None:
    seen = []

    @team.task()
    def body(results: list[int]) -> int:
        seen.append((list(results), body.request.retries))
        if body.request.retries < 2:
            raise body.retry(countdown=0, max_retries=2)
        return 42

    handle = chord([team.add.s(1), team.add.s(2)], body.s()).apply_async()
    team.settle(handle)
    assert handle.get() == 42
    assert seen == [([1, 2], 0), ([1, 2], 1), ([1, 2], 2)]


def test_links(team: Team) -> None:
    part = team.add.s(1, 1)
    part.link(team.tell.s("of the part"))
    body = team.tell.s("of the body")
    body.link(team.tell.s("behind the body"))
    whole = chord([part], body)
    whole.link(team.tell.s("behind the chord"))
    handle = whole.apply_async(link=team.tell.si("immutable"))
    team.settle(handle)
    assert sorted(map(json.dumps, team.told_of("tell"))) == sorted(
        map(
            json.dumps,
            [
                [2, "of the part"],
                [[2], "of the body"],
                [[2], "behind the body"],
                [[2], "behind the chord"],
                ["immutable"],
            ],
        )
    )


def test_what_follows_the_body(team: Team) -> None:
    handle = chain(group(team.add.s(1), team.add.s(2)), team.tell.s(), team.tell.s("last"))()
    team.settle(handle)
    assert team.told_of("tell") == [[[1, 2]], [[1, 2], "last"]]


def test_error_callbacks_of_each_part(team: Team) -> None:
    team.broken = {1, 2}
    own = team.add.s(1)
    own.link_error(team.old_errback.s())
    whole = group(own, team.add.s(2), team.add.s(3))
    whole.link_error(team.new_errback.s())
    handle = whole.apply_async()
    team.settle(handle)
    assert len(team.told_of("old errback")) == 1
    assert sorted(team.told_of("new errback")) == [
        ["team.add", "1 is broken"],
        ["team.add", "2 is broken"],
    ]
    with pytest.raises(PartFailed, match="Part 1"):
        handle.get()


@pytest.mark.parametrize("allowed", [True, False])
def test_celery_s_setting_for_error_callbacks_of_headers(team: Team, allowed: bool) -> None:
    team.app.conf.task_allow_error_cb_on_chord_header = allowed
    team.broken = {1, 2}
    whole = chord([team.add.s(n) for n in range(4)], team.tell.s())
    whole.link_error(team.new_errback.s())
    handle = whole.apply_async()
    team.settle(handle)
    told = [task for task, _ in team.told_of("new errback")]
    assert told == ([*["team.add"] * 2, "team.tell"] if allowed else ["team.tell"])
