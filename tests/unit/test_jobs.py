"""Declared jobs: mistakes are told where they are made."""

from __future__ import annotations

from dataclasses import field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

import breakbulk
from breakbulk.errors import DeclarationError, SourceError, UnknownJob
from breakbulk.jobs import JobRun, Registry, declare_keeping
from tests.support.declared import GOODS, job_of, process, registered, source, with_parameter

# Tests declare jobs for nobody in particular: every application after them would know those.
pytestmark = pytest.mark.usefixtures("unbound")

NOW = JobRun(datetime(2026, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize("method", ["source", "process"])
@pytest.mark.parametrize("instead", [None, "text"])
def test_a_job_without_its_methods_is_refused_with_an_example(
    method: str, instead: str | None
) -> None:
    with pytest.raises(DeclarationError, match=rf"The job Job needs a method {method}\(\)") as no:
        registered(job_of(**{method: instead}))
    assert "class ProcessWarehouse:" in str(no.value)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("chunk_size", 0),
        ("chunk_size", -1),
        ("chunk_size", 1.5),
        ("chunk_size", True),
        ("chunk_size", "500"),
        ("max_retries", -1),
        ("max_lanes", 0),
        ("retry_delay", -1),
        ("retry_delay", float("inf")),
        ("retry_delay", float("nan")),
        ("retry_delay", "60"),
        ("chunk_size", None),
        ("max_retries", None),
    ],
)
def test_an_option_that_cannot_be_is_refused(option: str, value: Any) -> None:
    with pytest.raises(DeclarationError, match=f"The job Job has {option}="):
        registered(job_of(), **{option: value})


@pytest.mark.parametrize(
    "parts",
    [
        {"__annotations__": {"run": int}, "run": 1},
        {"__annotations__": {"things": list}, "things": []},
        {"__annotations__": {"a": int, "b": int}, "a": 1, "__slots__": ("c",)},
    ],
)
def test_parameters_that_cannot_be_are_refused(parts: dict[str, Any]) -> None:
    if "__slots__" in parts:
        parts = {"__annotations__": {"field": int}, "__setattr__": lambda *_: None}
    with pytest.raises(DeclarationError, match="The job Job "):
        registered(job_of(**parts))


def test_a_type_that_is_nowhere_is_told_when_it_is_needed() -> None:
    spec = registered(job_of(__annotations__={"value": "Nowhere"}))
    with pytest.raises(DeclarationError, match=r"parameter whose type cannot be found.*Nowhere"):
        spec.build({"value": 1})


def test_parameters_are_inherited_and_may_be_required_after_defaults() -> None:
    base = registered(job_of(__annotations__={"first": int}, first=1)).cls
    child = registered(type("Child", (base,), {"__annotations__": {"second": int}}))
    assert list(child.parameters) == ["first", "second"]
    assert child.build({"second": 2}).first == 1


def test_two_jobs_of_one_name_are_refused_and_the_same_one_again_is_not() -> None:
    registry = Registry()
    first = job_of()
    registered(first, registry, name="prices")
    again = job_of()
    registered(again, registry, name="prices")  # its module was imported anew
    other = type("Other", (), {"source": source, "process": process})
    with pytest.raises(DeclarationError, match="Two jobs are called 'prices'"):
        registered(other, registry, name="prices")


def test_an_unbound_job_is_everybodys() -> None:
    @breakbulk.job(name="tests.everybodys", chunk_size=7)
    class Everybodys:
        """What everybody does.

        At length.
        """

        value: int = 1

        def source(self) -> Any:
            return select(GOODS)

        def process(self, chunk: Any) -> None: ...

    one, two = Registry(), Registry()
    assert one.get("tests.everybodys") is two.of(Everybodys(value=2)) is one.of(Everybodys)
    assert one.get("Everybodys").options.chunk_size == 7
    assert one.get("Everybodys").doc == "What everybody does."
    with pytest.raises(DeclarationError, match="Two jobs are called"):
        registered(job_of(), one, name="tests.everybodys")


def test_names_are_looked_up_kindly_but_not_guessed() -> None:
    registry = Registry()
    registered(job_of(), registry, name="shop.Job")
    assert registry.get("Job") is registry.get("shop.Job")
    registered(job_of(), registry, name="stock.Job")
    with pytest.raises(UnknownJob, match=r"Several jobs are called Job: say which of"):
        registry.get("Job")
    with pytest.raises(UnknownJob, match=r"There is no job 'Jobs'; known jobs: .*shop\.Job"):
        registry.get("Jobs")
    with pytest.raises(UnknownJob, match=r"declare it with @bulk\.job"):
        registry.of(object())


def test_a_subclass_is_not_the_job_it_inherits_from() -> None:
    registry = Registry()
    spec = registered(job_of(), registry)
    with pytest.raises(UnknownJob):
        registry.of(type("Child", (spec.cls,), {}))


def test_a_job_of_another_application_is_unknown() -> None:
    spec = registered(job_of())
    with pytest.raises(UnknownJob, match="not a job of this application"):
        Registry().of(spec.cls)


@pytest.mark.parametrize("given", [None, [1, 2], "select", select])
def test_a_source_that_cannot_be_walked_is_refused(given: Any) -> None:
    spec = registered(job_of(source=lambda _self: given))
    with pytest.raises(SourceError, match=r"source\(\) of .* return a select\(\)"):
        spec.source(spec.cls(), NOW)


def test_the_source_may_use_the_runs_clock_and_parameters() -> None:
    seen: list[Any] = []

    def asking(self: Any) -> Any:
        seen.append((self.run.submitted_at, self.value))
        return select(GOODS)

    spec = registered(job_of(source=asking, __annotations__={"value": int}, value=3))
    spec.source(spec.cls(), NOW)
    assert seen == [(NOW.submitted_at, 3)]


def test_a_job_is_frozen() -> None:
    job = with_parameter(int).cls(value=1)
    with pytest.raises(AttributeError):
        job.value = 2


def test_discovery_imports_every_module_of_a_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "found_by_tests"
    (package / "deep").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "deep" / "__init__.py").touch()
    declaration = (
        "import breakbulk\n@breakbulk.job\nclass {}:\n"
        "    def source(self): ...\n    def process(self, chunk): ...\n"
    )
    (package / "one.py").write_text(declaration.format("One"))
    (package / "deep" / "two.py").write_text(declaration.format("Two"))
    monkeypatch.syspath_prepend(str(tmp_path))
    bulk = breakbulk.Breakbulk("sqlite://")
    bulk.autodiscover(["found_by_tests"])
    assert {"found_by_tests.one.One", "found_by_tests.deep.two.Two"} <= set(bulk.jobs.all())
    with pytest.raises(ModuleNotFoundError, match="nowhere_at_all"):
        bulk.autodiscover(["nowhere_at_all"])


def test_a_callable_factory_is_kept() -> None:
    made: list[int] = []

    def factory() -> list[int]:
        made.append(1)
        return [1]

    kept: Any = field(default_factory=factory)
    spec = registered(job_of(__annotations__={"things": list[int]}, things=kept))
    assert spec.parameters["things"].default == [1]
    assert not spec.parameters["things"].required
    assert spec.build({}).things == [1]


def test_two_unbound_jobs_of_one_name_are_told_by_whoever_knows_both() -> None:
    first, again = (breakbulk.job(name="twice")(job_of()) for _ in range(2))
    registry = Registry()
    assert registry.of(again).cls is again  # its module was imported anew
    with pytest.raises(UnknownJob):
        registry.of(first)
    breakbulk.job(name="twice")(type("Other", (), {"source": source, "process": process}))
    with pytest.raises(DeclarationError, match=r"Two jobs are called 'twice' \(.*Job and .*Other"):
        registry.all()
    with pytest.raises(DeclarationError, match="Two jobs are called 'twice'"):
        registry.of(again)


def test_a_registry_of_its_own_knows_only_what_is_added() -> None:
    declared = breakbulk.job(name="somewhere")(job_of())
    registry = Registry(unbound=False)
    assert registry.all() == {}
    with pytest.raises(UnknownJob, match=r"in a module that config\.scan\(\) sees"):
        registry.of(declared)
    registry.add(declared.__breakbulk_job__)
    assert registry.of(declared).name == "somewhere"
    breakbulk.job(name="somewhere")(type("Other", (), {"source": source, "process": process}))
    assert list(registry) == [declared.__breakbulk_job__]


def test_only_jobs_of_our_own_keep_results() -> None:
    found: list[Any] = []
    declare_keeping(job_of(), found.append, chunk_size=1)
    assert found[0].options.keeps_results
    with pytest.raises(DeclarationError, match="keeps results, so it needs chunk_size=1"):
        declare_keeping(job_of(), found.append, chunk_size=2)
    with pytest.raises(DeclarationError, match="unknown option 'keeps_results'"):
        registered(job_of(), keeps_results=True)
    assert not registered(job_of()).options.keeps_results
