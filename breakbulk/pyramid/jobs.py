"""Jobs as configuration: found by a scan, seen by introspection, in conflict if doubled."""

from __future__ import annotations

from typing import Any

from pyramid.config import Configurator

from breakbulk.app import Breakbulk
from breakbulk.domain.options import Options
from breakbulk.errors import ConfigurationError
from breakbulk.jobs import JobSpec, declare

#: What introspection shows jobs under.
CATEGORY = "breakbulk jobs"


def add_breakbulk_job(config: Configurator, job: type[Any] | str, **options: Any) -> None:
    """Add a job to the application; ``config.add_breakbulk_job``.

    ``config.scan()`` does this for every class with ``@breakbulk.job`` that it comes across. Two
    jobs of one name are a ``ConfigurationConflictError`` that names both places; as always, what
    an application says itself overrides what it includes.

    Args:
        job: a class declared with ``@breakbulk.job``, or one that is not declared yet; or the
            dotted name of either.
        options: of a class that is not declared yet: those of ``JobOptions``.

    Raises:
        DeclarationError: the class is not a complete job.
        ConfigurationError: options are given for a class that has its own.
    """
    spec = _declared(config.maybe_dotted(job), options)
    bulk: Breakbulk = config.registry["breakbulk"]
    place = f"{spec.cls.__module__}.{spec.cls.__qualname__}"
    shown = config.introspectable(CATEGORY, spec.name, place, "breakbulk job")
    shown.update(
        name=spec.name,
        job=spec.cls,
        doc=spec.doc,
        chunk_size=spec.options.chunk_size,
        chunk_seconds=spec.options.chunk_seconds,
        queue=spec.options.queue,
        max_lanes=spec.options.max_lanes,
        **spec.options.policy.as_dict(),
    )
    config.action(
        ("breakbulk job", spec.name), bulk.jobs.add, args=(spec,), introspectables=(shown,)
    )


def _declared(cls: type[Any], options: dict[str, Any]) -> JobSpec:
    spec: JobSpec | None = vars(cls).get("__breakbulk_job__")
    if spec is None:
        made: list[JobSpec] = []
        declare(cls, made.append, **options)
        return made[0]
    # The same class again, as every application does that is made in one process after another.
    if options and Options.checked(cls.__name__, **options) != spec.options:
        raise ConfigurationError(
            f"The job {spec.name} has its options where it is declared: leave them out here."
        )
    return spec
