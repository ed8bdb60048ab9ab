"""Jobs as they are declared, with no application around them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, Integer, MetaData, Table, select

from breakbulk.jobs import JobSpec, Registry, declare

GOODS = Table("goods", MetaData(), Column("id", Integer, primary_key=True))


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


def source(_self: Any) -> Any:
    return select(GOODS)


def process(_self: Any, chunk: Any) -> None: ...


def job_of(**parts: Any) -> type[Any]:
    return type("Job", (), {"source": source, "process": process, **parts})
