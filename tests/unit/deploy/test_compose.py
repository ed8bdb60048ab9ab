"""The Compose file: what its schema says, and what its parts have to agree on."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest

from tests.support.deployment import DEPLOY, complaints, documents, instructions, schema

_FILE = DEPLOY / "compose.yaml"


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    (found,) = documents(_FILE)
    return found


def test_it_is_as_the_published_schema_says(compose: dict[str, Any]) -> None:
    assert complaints(compose, schema("compose")) == []


def test_the_schema_would_notice_a_slip(compose: dict[str, Any]) -> None:
    worker = compose["services"]["worker"]
    wrong = {**compose, "services": {"worker": {**worker, "stop_grace": "5m"}}}
    (said,) = complaints(wrong, schema("compose"))
    assert said.startswith("$.services.worker: 'stop_grace' ")


def test_a_worker_knows_how_long_it_has(compose: dict[str, Any]) -> None:
    worker = compose["services"]["worker"]
    told = worker["environment"]["BREAKBULK_GRACE_SECONDS"]
    assert worker["stop_grace_period"] == f"{told}s"


def test_workers_can_be_multiplied(compose: dict[str, Any]) -> None:
    worker = compose["services"]["worker"]
    assert "container_name" not in worker
    assert "ports" not in worker


def test_only_this_machine_reaches_the_dashboard(compose: dict[str, Any]) -> None:
    published = [
        one for service in compose["services"].values() for one in service.get("ports", ())
    ]
    assert published == ["127.0.0.1:8440:8440"]


def test_it_builds_from_what_is_there(compose: dict[str, Any]) -> None:
    build = compose["services"]["worker"]["build"]
    context = (DEPLOY / build["context"]).resolve()
    dockerfile = context / build["dockerfile"]
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    copied = [
        source
        for name, argument in instructions(dockerfile)
        if name == "COPY" and not argument.startswith("--from")
        for source in argument.split()[:-1]
    ]
    assert copied
    for source in copied:
        assert (context / source).exists(), source
        assert f"!{source}" in ignored, "what is not let in is not there to be copied"


def test_the_image_asks_for_extras_that_there_are() -> None:
    project = tomllib.loads((DEPLOY.parent / "pyproject.toml").read_text())["project"]
    runs = " ".join(argument for name, argument in instructions(DEPLOY / "Dockerfile"))
    asked = re.search(r'"/src\[([\w,]+)\]"', runs)
    assert asked is not None
    assert set(asked[1].split(",")) <= set(project["optional-dependencies"])
