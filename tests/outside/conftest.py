"""Fixtures of the scenarios, and the file that says what came of them.

A contestant's worker is shared by all scenarios of a session. ``make outside`` names in
``BREAKBULK_OUTSIDE`` the file that the results are written to.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.outside.application import IN_SESSION
from tests.outside.camp import Camp
from tests.outside.record import RESULTS, Record
from tests.outside.scenario import ATTRIBUTE, Scenario
from tests.outside.yard import Yard

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from tests.support.servers import Servers

_RECORD = Record()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note what came of a scenario, and show the worker's log when it was not what was expected."""
    report = yield
    _RECORD.note(item, report)
    yard = getattr(item, "funcargs", {}).get("yard")
    if report.failed and isinstance(yard, Yard):
        for worker in yard.camp.workers[-2:]:
            report.sections.append((f"Log of {worker.name}", worker.last_lines()))
    return report


def pytest_sessionfinish() -> None:
    """Write the results, if they were asked for."""
    if path := os.environ.get(RESULTS):
        _RECORD.write(Path(path))


@pytest.fixture(scope="session")
def camps(
    test_servers: Servers, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Camp]]:
    """Those contestants that have had something to do."""
    found: dict[str, Camp] = {}
    yield found
    for camp in found.values():
        camp.close()


@pytest.fixture
def yard(
    request: pytest.FixtureRequest,
    contestant: str,
    camps: dict[str, Camp],
    test_servers: Servers,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Yard]:
    """One contestant, ready; what is said of the session's use is looked at in the end."""
    if contestant not in camps:
        directory = tmp_path_factory.mktemp(contestant)
        camps[contestant] = Camp(contestant, test_servers, directory)
    made = Yard(camps[contestant])
    notes = made.built.notes.client
    notes.delete(IN_SESSION)
    yield made
    made.close()
    declared: Scenario = getattr(request.function, ATTRIBUTE)
    in_session = bool(notes.exists(IN_SESSION))
    assert not made.ours or in_session == declared.session, "say so in the scenario"
