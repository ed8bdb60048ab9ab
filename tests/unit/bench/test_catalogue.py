from __future__ import annotations

from pathlib import Path

import pytest

from bench import catalogue


def test_a_catalogue_that_is_nowhere_is_told_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(catalogue.ENVIRONMENT, str(tmp_path / "nowhere.tsv.gz"))
    with pytest.raises(SystemExit, match="leave the variable out to repeat the shipped catalogue"):
        catalogue.check()
    monkeypatch.delenv(catalogue.ENVIRONMENT)
    catalogue.check()
