"""The files of `deploy/`, read as the programs read them that they are for."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.validators import validator_for

from tests.support import servers

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
_SCHEMAS = ROOT / "tests" / "schemas"
#: Instructions of a Dockerfile that a build carries out.
_CONTINUED = "\\\n"


def documents(path: Path) -> list[dict[str, Any]]:
    """All documents of a YAML file."""
    return [one for one in yaml.safe_load_all(path.read_text()) if one is not None]


def schema(name: str) -> dict[str, Any]:
    """A published schema."""
    found: dict[str, Any] = json.loads((_SCHEMAS / f"{name}.json").read_text())
    return found


def complaints(document: object, against: dict[str, Any]) -> list[str]:
    """What a schema has to say against a document."""
    kind: Any = validator_for(against, default=Draft202012Validator)
    found = sorted(kind(against).iter_errors(document), key=lambda error: error.json_path)
    return [f"{error.json_path}: {error.message}" for error in found]


def program(name: str, needed: str) -> str:
    """The path of a program; the test is skipped without it, or fails where it is demanded.

    Args:
        needed: what ``BREAKBULK_REQUIRE`` calls it.
    """
    path = shutil.which(name)
    if path is None:
        servers.missing(needed, f"there is no {name} on the PATH")
    return path


def instructions(path: Path) -> list[tuple[str, str]]:
    """A Dockerfile's instructions with their arguments, in order."""
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    text = "\n".join(lines).replace(_CONTINUED, " ")
    found = (line.partition(" ") for line in text.splitlines() if line.strip())
    return [(name, argument.strip()) for name, _, argument in found]


def environment(given: list[tuple[str, str]]) -> dict[str, str]:
    """What ENV says in a Dockerfile's instructions."""
    words = [word for name, argument in given if name == "ENV" for word in shlex.split(argument)]
    return dict(word.split("=", 1) for word in words)


def last_stage(given: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The instructions of the stage that becomes the image."""
    begins = max(at for at, (name, _) in enumerate(given) if name == "FROM")
    return given[begins:]


def as_list(argument: str) -> list[str]:
    """A command in its form without a shell."""
    found: list[str] = json.loads(argument[argument.index("[") :])
    return found


def command_of(given: list[tuple[str, str]]) -> list[str]:
    """What the image starts."""
    return as_list(dict(last_stage(given))["CMD"])
