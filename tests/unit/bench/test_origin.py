"""Of which code a measurement is."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bench import origin


def test_a_measurement_names_its_commit_and_whether_something_was_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*arguments: str) -> str:
        who = ("-c", "user.name=a", "-c", "user.email=a@b.invalid")
        command = ["git", *who, *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    monkeypatch.setattr(origin, "_ROOT", tmp_path)
    file = tmp_path / "file"
    file.touch()
    git("init")
    git("add", "file")
    git("commit", "--message", "first")
    head = git("rev-parse", "HEAD")
    assert origin.commit() == {"commit": head, "changed": False}
    assert origin.commit_of(origin.commit()) == f"`{head[:12]}`"
    results = tmp_path / "bench" / "results" / "figures.json"
    results.parent.mkdir(parents=True)
    results.touch()
    git("add", ".")
    git("commit", "--message", "second")
    head = git("rev-parse", "HEAD")
    results.write_text("figures")
    assert origin.commit_of(origin.commit()) == f"`{head[:12]}`", "that is what came of it"
    file.write_text("changed")
    assert origin.commit_of(origin.commit()) == f"`{head[:12]}`, with changes"


def test_outside_of_a_checkout_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(origin, "_ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert origin.commit_of(origin.commit()) == "not known"
