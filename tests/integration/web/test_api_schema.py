"""The API against its document, by requests that nobody would think of (schemathesis)."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from breakbulk import Chunk, RunStatus
from breakbulk.web.api.contract import document
from tests.integration.web.conftest import part
from tests.support.yard import Boom, Goods, touch

if TYPE_CHECKING:
    from webtest import TestApp

    from tests.support.yard import Yard

#: Of each operation, in each way of making them up.
_EXAMPLES = 20
#: Some that are there, whole and split, and some that are not.
_CHUNKS = ("1", "2", "2.0", "2.001", "2.a", "2.ab01", "9")


def aimed() -> dict[str, Any]:
    """The document, with what is there for what may be there: most numbers are no run's."""
    found = deepcopy(document())
    parts = found["components"]
    parts["parameters"]["Run"]["schema"] = {"type": "integer", "enum": [1, 2, 3, 4, 5]}
    parts["schemas"]["ChunkName"] = {"type": "string", "enum": list(_CHUNKS)}
    found["paths"]["/jobs/{job}"]["parameters"][0]["schema"] = {"enum": ["Job0", "Job4"]}
    for kind in ("Planned", "Submission"):
        properties = parts["schemas"][kind]["properties"] = {**parts["schemas"][kind]["properties"]}
        properties["job"] = {"enum": ["Job0", "Job4"]}
        properties["parameters"] = {
            "type": "object",
            "properties": {"tag": {"type": "string"}},
            "additionalProperties": False,
        }
    return found


schema = schemathesis.openapi.from_dict(aimed())


def bad(chunk: Chunk[Goods]) -> None:
    """A process that fails for one row."""
    for row in chunk:
        if row.id == 13:
            raise Boom("13")
        row.version += 1


@dataclass
class Api:
    """An application, and what one has to send it."""

    app: Any
    headers: dict[str, str]


@pytest.fixture
def yard(sqlite_yard: Yard) -> Yard:
    """What is asked is the same on every database."""
    return sqlite_yard


@pytest.fixture
def api(yard: Yard, nobody: TestApp) -> Api:
    """The API of a ledger with runs of many kinds."""
    part(yard, yard.run(), "a", "ab", "ab01", "b")
    assert yard.run(bad, max_retries=0).status() is RunStatus.PARTIAL
    yard.submit(yard.job(touch)).cancel()
    yard.submit(yard.job(touch)).pause()
    yard.submit(yard.job(touch))
    token = yard.bulk.tokens.create("fuzz", can="operate").text
    return Api(nobody.app, {"Authorization": f"Bearer {token}"})


@schema.parametrize()
@settings(
    max_examples=_EXAMPLES,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_what_the_document_says(case: schemathesis.Case[Any], api: Api) -> None:
    # A job that is not there is as good a name as any other for the document.
    case.call_and_validate(
        app=api.app, headers=api.headers, excluded_checks=[positive_data_acceptance]
    )
