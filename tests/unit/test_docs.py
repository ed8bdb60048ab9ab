"""The documentation against the code: what is written must be so, and nothing may be left out."""

from __future__ import annotations

import ast
import re
import tomllib
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import breakbulk
import breakbulk.pyramid
from breakbulk.console import exits
from breakbulk.domain.status import ChunkStatus, RunStatus, lifecycle_diagram
from breakbulk.errors import BreakbulkError
from breakbulk.ledger.schema import HEAD, schema
from breakbulk.pyramid.settings import PREFIX, PyramidSettings
from breakbulk.runner.celery_settings import _ADVICE
from breakbulk.settings import Settings
from breakbulk.web import settings as web_settings
from docs import generate

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
READMES = [path for path in (ROOT / "README.md", ROOT / "bench" / "README.md") if path.exists()]
PAGES = [*READMES, *generate.pages()]
_LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def snippets() -> list[Any]:
    return [
        pytest.param(code, id=f"{path.relative_to(ROOT)}-{number}")
        for path in PAGES
        for number, (language, code) in enumerate(_FENCE.findall(path.read_text("utf-8")), 1)
        if language == "python"
    ]


def anchors(path: Path) -> set[str]:
    """Names of a page's headings, as GitHub makes them."""
    text = _FENCE.sub("", path.read_text(encoding="utf-8"))
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in _HEADING.findall(text))
    return {name.replace(" ", "-") for name in plain}


def test_the_tutorial_prints_the_version_of_the_tables() -> None:
    assert f"version {HEAD}." in page("tutorial/first-run.md")


@pytest.mark.parametrize(
    "path", [generate.README, *generate.pages()], ids=lambda path: str(path.relative_to(ROOT))
)
def test_generated_parts_are_up_to_date(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert generate.renewed(text) == text, "run: python -m docs.generate"


def test_every_setting_is_documented() -> None:
    text = page("reference/settings.md")
    assert [field.name for field in fields(Settings) if f"`{field.name}`" not in text] == []


def test_every_environment_variable_is_documented() -> None:
    text = page("reference/settings.md")
    code = " ".join(path.read_text() for path in (ROOT / "breakbulk").rglob("*.py"))
    # Between a worker, or autoscale, and the processes that it starts, and of the demo.
    own = {
        "BREAKBULK_AUTOSCALED",
        "BREAKBULK_DEADLINES",
        "BREAKBULK_DEMO_LIFELINE",
        "BREAKBULK_WORKER_ID",
    }
    names = set(re.findall(r"\bBREAKBULK_[A-Z_]+\b", code)) - own
    assert [name for name in sorted(names) if f"`{name}`" not in text] == []


def test_every_error_is_documented_and_drawn_in_the_tree() -> None:
    text = page("reference/errors.md")
    tree, _, table = text.partition("```\n\n")
    for error in generate.public_errors():
        assert f"| `{error.__name__}` |" in table
        assert not issubclass(error, BreakbulkError) or re.search(rf"\b{error.__name__}\b", tree)


def test_every_verb_and_option_is_documented() -> None:
    text = page("reference/cli.md")
    for name, command in generate.verbs():
        assert f"## `{name}`" in text
        for parameter in command.params:
            assert all(option in text for option in parameter.opts if option.startswith("-"))


def test_every_public_name_is_documented() -> None:
    text = page("reference/api.md")
    assert [name for name in breakbulk.__all__ if f"`{name}`" not in text] == []


def test_every_setting_of_a_pyramid_application_is_documented() -> None:
    text = page("reference/pyramid.md")
    names = [f"`{PREFIX}{field.name}`" for field in fields(PyramidSettings)]
    names += [f"`{web_settings.PREFIX}{field.name}`" for field in fields(web_settings.WebSettings)]
    assert [name for name in names if name not in text] == []


def test_every_public_name_of_the_add_on_is_documented() -> None:
    text = page("reference/pyramid.md")
    others = {"includeme": "config.include", "RequestBreakbulk": "request.breakbulk"}
    names = [others.get(name, name) for name in breakbulk.pyramid.__all__]
    assert [name for name in names if name not in text] == []


def test_every_exit_code_is_documented() -> None:
    text = page("reference/exit-codes.md")
    codes = {name: value for name, value in vars(exits).items() if name.isupper()}
    rows = [f"| {code} | `{name}` |" for name, code in codes.items() if name[0] != "_"]
    assert [row for row in rows if row not in text] == []


def test_every_status_is_documented() -> None:
    text = page("reference/statuses.md")
    runs, _, chunks = text.partition("## Of a chunk")
    assert [status for status in RunStatus if f"| `{status}` |" not in runs] == []
    assert [status for status in ChunkStatus if f"| `{status}` |" not in chunks] == []


def test_the_lifecycle_is_drawn_from_the_table() -> None:
    assert lifecycle_diagram().strip() in page("explanation/lifecycle.md")


def test_every_column_of_the_ledger_is_documented() -> None:
    text = page("reference/ledger-tables.md")
    ledger = schema("breakbulk", flat=False)
    for table in ledger.metadata.tables.values():
        _, found, section = text.partition(f"\n## `{table.name}`")
        assert found, table.name
        section = section.partition("\n## ")[0]
        assert [one.name for one in table.columns if f"`{one.name}`" not in section] == []


def test_every_celery_setting_that_doctor_looks_at_is_documented() -> None:
    text = page("how-to/celery-settings.md")
    assert [advice.name for advice in _ADVICE if f"`{advice.name}" not in text] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    text = _FENCE.sub("", path.read_text(encoding="utf-8"))
    for link in _LINK.findall(text):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_is_linked_from_another() -> None:
    linked = {DOCS / "README.md"} | {
        (path.parent / link.partition("#")[0]).resolve()
        for path in PAGES
        for link in _LINK.findall(path.read_text(encoding="utf-8"))
        if not link.startswith("http")
    }
    assert [path for path in generate.pages() if path.resolve() not in linked] == []


@pytest.mark.parametrize("code", snippets())
def test_python_snippets_compile(code: str) -> None:
    ast.parse(code)


@pytest.mark.parametrize("code", snippets())
def test_python_snippets_import_what_is_there(code: str) -> None:
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and node.module in {"breakbulk", "breakbulk.pyramid"}:
            public = import_module(node.module).__all__
            assert [one.name for one in node.names if one.name not in public] == []


def test_every_decision_has_its_four_parts() -> None:
    for path in (DOCS / "decisions").glob("0*.md"):
        parts = re.findall(r"^## (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
        assert parts == ["Context", "Decision", "Evidence", "Consequences"], path.name


def test_the_versions_named_are_those_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    least = project["requires-python"].removeprefix(">=")
    assert f"Python {least}" in page("tutorial/first-run.md")


def test_what_make_test_leaves_out_has_a_target_of_its_own() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (expression,) = (
        one for one in project["tool"]["pytest"]["ini_options"]["addopts"] if "not " in one
    )
    makefile, readme = (
        (ROOT / name).read_text(encoding="utf-8") for name in ("Makefile", "README.md")
    )
    (help_of_test,) = re.findall(r"^test:.*## (.*)$", makefile, re.MULTILINE)
    names = re.findall(r"not (\w+)", expression)
    assert len(names) == 3
    for name in names:
        assert re.search(rf"^{name}: .*## ", makefile, re.MULTILINE)
        assert name in help_of_test
        assert f"`make {name}`" in readme
