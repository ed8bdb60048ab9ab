"""The OpenAPI document: it is one, and says what the code knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from openapi_spec_validator import validate

from breakbulk.domain.failed import FailureGroup, FailureReport, QuarantinedRow
from breakbulk.domain.progress import Progress
from breakbulk.domain.run import Summary
from breakbulk.domain.status import ChunkStatus, RunStatus
from breakbulk.domain.token import Token
from breakbulk.runner.retry import Retried
from breakbulk.runner.submit import Overlap, Plan
from breakbulk.web.api import problems
from breakbulk.web.api.contract import document

if TYPE_CHECKING:
    from collections.abc import Iterator

SCHEMAS: dict[str, Any] = document()["components"]["schemas"]


def objects(part: Any, place: str = "#") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object with fields that the document describes."""
    if isinstance(part, dict):
        if isinstance(part.get("properties"), dict) and part.get("type") != "string":
            yield place, part
        for name, inside in part.items():
            yield from objects(inside, f"{place}/{name}")


def test_it_is_an_openapi_document() -> None:
    validate(document())
    assert document()["openapi"].startswith("3.1.")


def test_it_knows_every_status() -> None:
    assert SCHEMAS["RunStatus"]["enum"] == [str(status) for status in RunStatus]
    assert SCHEMAS["ChunkStatus"]["enum"] == [str(status) for status in ChunkStatus]
    assert SCHEMAS["Submission"]["properties"]["overlap"]["enum"] == [str(word) for word in Overlap]


@pytest.mark.parametrize(
    ("name", "cls"),
    [
        ("Failure", FailureReport),
        ("FailureGroup", FailureGroup),
        ("QuarantinedRow", QuarantinedRow),
        ("Plan", Plan),
        ("Retried", Retried),
    ],
)
def test_it_knows_every_field(name: str, cls: type[Any]) -> None:
    assert set(cls.__dataclass_fields__) <= set(SCHEMAS[name]["properties"])


def test_it_knows_every_field_of_progress_and_summary() -> None:
    seen = Progress(RunStatus.RUNNING, None, 1, 2, True, 1, 1, 0, 0, 1, 1.0, 1.0)
    assert set(seen.as_dict()) == set(SCHEMAS["Progress"]["properties"])
    summary = SCHEMAS["Run"]["properties"]["summary"]["properties"]
    assert set(Summary.__dataclass_fields__) == set(summary)


def test_whatever_is_answered_is_all_there_and_nothing_else_is() -> None:
    """A field that may be missing, or one that nobody has described, is no promise."""
    asked = ("Planned", "Submission", "Problem", "Limits", "StartLimits")
    for place, schema in objects({**SCHEMAS, **{name: {} for name in asked}}):
        assert set(schema["required"]) == set(schema["properties"]), place
        assert schema["additionalProperties"] is False, place


def test_every_operation_has_a_name_of_its_own_and_a_sentence() -> None:
    operations = [
        item[method]
        for item in document()["paths"].values()
        for method in ("get", "post")
        if method in item
    ]
    names = [operation["operationId"] for operation in operations]
    assert len(set(names)) == len(names)
    assert all(operation["summary"].endswith(".") for operation in operations)
    assert all("default" in operation["responses"] for operation in operations)


def test_every_look_can_be_asked_for_what_is_new() -> None:
    for path, item in document()["paths"].items():
        if "get" not in item:
            continue
        asked = [one.get("$ref", "").rpartition("/")[2] for one in item["get"]["parameters"]]
        assert "IfNoneMatch" in asked, path
        answers = item["get"]["responses"]
        assert "ETag" in answers["200"]["headers"], path
        assert answers["304"] == {"$ref": "#/components/responses/Unchanged"}, path


def test_no_token_is_told() -> None:
    assert not {"digest", "secret"} & set(Token.__dataclass_fields__)


def test_problems_have_types_of_their_own() -> None:
    types = [kind.type for kind in problems.KINDS]
    assert len(set(types)) == len(types) > 15
