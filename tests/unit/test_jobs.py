"""Declared jobs: mistakes are told where they are made, and parameters reach every process."""

from __future__ import annotations

import enum
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, select

import breakbulk
from breakbulk import Masked
from breakbulk.errors import DeclarationError, ParameterError, SourceError, UnknownJob
from breakbulk.jobs import JobRun, JobSpec, Registry, declare, parameters_hash

_ROOT = Path(__file__).parents[2]
GOODS = Table("goods", MetaData(), Column("id", Integer, primary_key=True))
NOW = JobRun(datetime(2026, 1, 1, tzinfo=UTC))


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Point:
    x: int
    y: float = 0.0


def registered(cls: type[Any], registry: Registry | None = None, **options: Any) -> JobSpec:
    given: dict[str, Any] = {
        "name": None,
        "chunk_size": 500,
        "max_retries": 5,
        "retry_delay": 60,
        "max_lanes": None,
        "queue": None,
        **options,
    }
    where = registry or Registry()
    declared = declare(cls, where.add, **given)
    return where.of(declared)


def with_parameter(hint: Any, **default: Any) -> JobSpec:
    class Job:
        def source(self) -> Any:
            return select(GOODS)

        def process(self, chunk: Any) -> None: ...

    Job.__annotations__ = {"value": hint}
    if default:
        Job.value = default["default"]  # type: ignore[attr-defined]
    return registered(Job)


VALUES: list[tuple[Any, Any]] = [
    (int, -3),
    (int, 2**70),
    (float, 1.5),
    (float, 3),
    (Decimal, Decimal("1.10")),
    (Decimal, Decimal("123456789012345678901234567890.000000000000000001")),
    (str, "Grö\x00ße \ud800"),
    (bool, True),
    (datetime, datetime(2026, 2, 3, 4, 5, 6, 789, tzinfo=UTC)),
    (datetime, datetime(2026, 2, 3, 4, 5)),  # noqa: DTZ001
    (date, date(2026, 2, 3)),
    (time, time(4, 5)),
    (timedelta, timedelta(days=2, microseconds=1)),
    (UUID, UUID(int=7)),
    (Colour, Colour.BLUE),
    (Literal["up", "down"], "down"),
    (bytes, b"\x00\xff"),
    (list[int], [1, 2]),
    (tuple[int, str], (1, "a")),
    (frozenset[str], frozenset({"a", "b"})),
    (dict[str, list[int]], {"a": [1]}),
    (dict[int, str], {1: "a"}),
    (dict[date, int], {date(2026, 1, 1): 1}),
    (Point, Point(1, 2.5)),
    (int | str | None, None),
    (Annotated[str, Masked], "secret"),
]


def _ids() -> list[str]:
    # Not what a set looks like, for that differs from process to process.
    return [f"{n} {hint}" for n, (hint, _value) in enumerate(VALUES)]


@pytest.mark.parametrize(("hint", "value"), VALUES, ids=_ids())
def test_a_parameter_reaches_another_process_as_it_was(hint: Any, value: Any) -> None:
    spec = with_parameter(hint)
    stored = json.dumps(spec.dump(spec.cls(value=value)))
    again = spec.build(json.loads(stored))
    assert again.value == value
    # And again, because what is submitted anew must be the same run's parameters.
    assert json.dumps(spec.dump(again)) == stored


@pytest.mark.parametrize(
    ("hint", "value"),
    [
        (int, "5"),
        (int, 1.5),
        (int, True),
        (bool, 1),
        (float, "1.5"),
        (float, float("nan")),
        (float, float("inf")),
        (str, 5),
        (str, None),
        (datetime, date(2026, 1, 1)),
        (Colour, "green"),
        (list[int], ["a"]),
        (Point, {"y": 1}),
        (str, object()),
        (dict[str, Any], {"a": object()}),
    ],
)
def test_a_value_of_another_type_is_refused_at_submit(hint: Any, value: Any) -> None:
    spec = with_parameter(hint)
    with pytest.raises(ParameterError, match=r"The parameter 'value' of .*Job ") as caught:
        spec.dump(spec.cls(value=value))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("hint", "words", "value"),
    [
        (int, "5", 5),
        (float, "1.05", 1.05),
        (Decimal, "1.05", Decimal("1.05")),
        (bool, "true", True),
        (datetime, "2026-01-01T00:00:00Z", NOW.submitted_at),
        (Colour, "blue", Colour.BLUE),
        (int | None, "5", 5),
        (str, "5", "5"),
    ],
)
def test_a_command_line_gives_text(hint: Any, words: str, value: Any) -> None:
    built = with_parameter(hint).build({"value": words}, strict=False)
    assert built.value == value
    assert type(built.value) is type(value)


def test_unknown_and_missing_parameters_are_named() -> None:
    spec = with_parameter(int)
    with pytest.raises(ParameterError, match=r"has no parameter 'rat'; it has: value\."):
        spec.build({"rat": 1, "value": 1})
    with pytest.raises(ParameterError, match=r"needs the parameter 'value' \(int\)"):
        spec.build({})
    assert with_parameter(int, default=4).build({}).value == 4


def test_equal_sets_are_equal_parameters_in_every_process() -> None:
    """Their order differs with the hash seed, and a run must not slip past ``overlap`` by it."""
    program = (
        "from tests.unit.test_jobs import *\n"
        "words = frozenset(f'word {n}' for n in range(20))\n"
        "spec = with_parameter(frozenset[str])\n"
        "print(parameters_hash('job', spec.dump(spec.cls(value=words))))\n"
    )
    hashes = {
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=_ROOT,
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in (1, 2)
    }
    assert len(hashes) == 1


def test_the_hash_tells_jobs_and_values_apart_but_not_their_order() -> None:
    same = parameters_hash("job", {"a": 1, "b": 2})
    assert parameters_hash("job", {"b": 2, "a": 1}) == same
    others: list[tuple[str, dict[str, Any]]] = [
        ("job", {"a": 1, "b": "2"}),
        ("job", {"a": 1}),
        ("other", {"a": 1, "b": 2}),
    ]
    assert all(parameters_hash(name, values) != same for name, values in others)


# Secrets

SECRETS: list[tuple[Any, Any]] = [
    (Annotated[Literal["up"], Masked], "hush-hush"),
    (Annotated[Colour, Masked], "hush-hush"),
    (Annotated[int, Masked], "hush-hush"),
    (Annotated[dict[str, int], Masked()], {"hush-hush": "hush-hush"}),
    (Annotated[UUID, Masked], "hush-hush"),
    (Annotated[datetime, Masked], "hush-hush"),
]


@pytest.mark.parametrize(("hint", "value"), SECRETS)
def test_a_secret_is_never_shown(hint: Any, value: Any) -> None:
    spec = with_parameter(hint)
    job = spec.cls(value=value)
    shown = [repr(job), str(job), str(spec.shown({"value": value}))]
    for act in (lambda: spec.dump(job), lambda: spec.build({"value": value})):
        with pytest.raises(ParameterError) as caught:
            act()
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__
        shown.append(str(caught.value))
    assert not [words for words in shown if "hush-hush" in words]
    assert "value=***" in repr(job)


def test_what_is_no_secret_is_shown() -> None:
    spec = with_parameter(str, default="x")
    assert repr(spec.cls(value="seen")).endswith("Job(value='seen')")
    assert spec.shown({"value": "seen", "of another version": 1}) == {
        "value": "seen",
        "of another version": 1,
    }


# Declarations


def source(_self: Any) -> Any:
    return select(GOODS)


def process(_self: Any, chunk: Any) -> None: ...


def job_of(**parts: Any) -> type[Any]:
    return type("Job", (), {"source": source, "process": process, **parts})


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


# What type checkers see

# mypy looks at decorators that are functions, not at methods of an object: ``bulk.job`` is
# understood by pyright alone.
_TYPED = """
from decimal import Decimal
from typing import Any
from sqlalchemy import Select, select
import breakbulk
from breakbulk import Breakbulk, Chunk, FinishedRun

bulk = Breakbulk("sqlite://")

@breakbulk.job(chunk_size=5)
class Prices:
    rate: Decimal
    limit: int = 5

    def source(self) -> Select[Any]:
        return select()

    def process(self, chunk: Chunk[Any]) -> None:
        reveal_type(chunk.session)

    def finished(self, run: FinishedRun) -> None:
        reveal_type(run.summary.rows_done)

@breakbulk.job
class Bare:
    rate: Decimal

@bulk.job
class Bound: ...

@bulk.job(chunk_size=5)
class BoundToo: ...

bulk.submit(Bound())                # right
bulk.submit(BoundToo())             # right
Prices(rate=Decimal(1), limit=2)    # right
Bare(rate=Decimal(1))               # right
reveal_type(Prices(rate=Decimal(1)).limit)
Prices(rate=Decimal(1), limit="2")  # wrong
Prices(limit=2)                     # wrong
Prices(Decimal(1))                  # wrong
Prices(rate=Decimal(1), rat=1)      # wrong
Prices(rate=Decimal(1)).limit = 3   # wrong
Bare()                              # wrong
breakbulk.job(chunk_size="5")       # wrong
bulk.job(size=5)                    # wrong
"""


def test_type_checkers_know_the_parameters(tmp_path: Path) -> None:
    file = tmp_path / "typed.py"
    file.write_text(_TYPED)
    done = subprocess.run(
        # By a relative name: mypy's cache remembers by which name it saw the same text before.
        [
            *(sys.executable, "-m", "mypy", "--strict", "--no-error-summary"),
            *("--cache-dir", str(_ROOT / ".mypy_cache"), file.name),
        ],
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(_ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    told = [line for line in done.stdout.splitlines() if line.startswith(file.name)]
    errors = {int(line.split(":")[1]) for line in told if "error:" in line}
    lines = _TYPED.splitlines()
    wrong = {number for number, line in enumerate(lines, 1) if "# wrong" in line}
    assert errors == wrong, done.stdout
    assert '"sqlalchemy.orm.session.Session"' in done.stdout
    assert sum("Revealed type is" in line and "int" in line for line in told) == 2


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
