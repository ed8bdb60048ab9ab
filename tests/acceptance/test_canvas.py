"""Groups, chords and chains of a team's own tasks, with real workers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from breakbulk.canvas import chain, group
from tests.support.tasks import notes

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.stage import Stage


def task(stage: Stage, name: str) -> Any:
    """A task of the team."""
    return stage.application.app.tasks[f"team.{name}"]


def test_the_article_s_own_script(stage: Stage, tmp_path: Path) -> None:
    for _ in range(2):
        stage.worker()
    path = str(tmp_path / "notes")
    process_some, process_finished = task(stage, "part"), task(stage, "finished")
    task_list = []
    for x in range(0, 5_000, 500):
        task_list.append(  # noqa: PERF401  (as it stands there)
            process_some.s(x, x + 500, path, failing=2 if x == 1_000 else 0)
        )
    product_group = group(task_list)
    handle = chain(product_group, process_finished.s(path=path)).apply_async()
    assert handle.get(timeout=60) == "done"
    written = notes(path)
    assert written[-1] == ["finished", [True] * 10, 0]
    parts = [tuple(words[1:4]) for words in written[:-1]]
    expected = [(x, x + 500, 0) for x in range(0, 5_000, 500)]
    assert sorted(parts) == sorted([*expected, (1_000, 1_500, 1), (1_000, 1_500, 2)])
    assert {words[5] for words in written[:-1]} == {handle.id}
    assert len({words[4] for words in written[:-1]}) == 10, "the same id in every attempt"
