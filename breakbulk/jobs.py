"""Declared jobs: the class with ``source``, ``process`` and ``finished``, its parameters, its name.

A job class becomes a frozen, keyword-only dataclass; its fields are the parameters, so they are
written once and reach every method. Mistakes are told where they are made: at declaration.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, replace
from datetime import datetime
from functools import cached_property
from typing import Any, TypeVar, Unpack, dataclass_transform, get_type_hints

import msgspec
from sqlalchemy import Select

from breakbulk.domain.chunk import RunId
from breakbulk.domain.options import JobOptions, Options
from breakbulk.domain.sizing import ChunkSize
from breakbulk.errors import DeclarationError, ParameterError, SourceError, UnknownJob
from breakbulk.sources import Items, Source, table_source

T = TypeVar("T")

_EXAMPLE = """\
    @bulk.job
    class ProcessWarehouse:
        def source(self):
            return select(Product)

        def process(self, chunk):
            for product in chunk: ...
"""
_RESERVED = ("run",)


class Masked:
    """Marks a parameter as a secret: ``Annotated[str, Masked]``.

    It is never shown, and is stored only encrypted, which needs a ``secret_key``.
    """


@dataclass(frozen=True, slots=True)
class JobRun:
    """What a job's methods see as ``self.run``.

    Attributes:
        submitted_at: the only clock that ``source()`` may use: it is the same in every process.
        id: the run's number; None while it is being submitted or planned.
    """

    submitted_at: datetime
    id: RunId | None = None


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a job: its type, its default if it has one, whether it is a secret."""

    name: str
    type: Any
    required: bool
    default: Any
    masked: bool

    @property
    def type_name(self) -> str:
        """The type as people write it."""
        kind = self.type
        return kind.__name__ if isinstance(kind, type) else str(kind).replace("typing.", "")


@dataclass(frozen=True)
class JobSpec:
    """A declared job.

    Attributes:
        name: what the ledger calls it.
        cls: the class.
        options: how it is to be worked on.
    """

    name: str
    cls: type[Any]
    options: Options

    @property
    def doc(self) -> str:
        """The first line of the class's docstring."""
        text = (self.cls.__doc__ or "").strip().partition("\n")[0]
        # A dataclass without a docstring gets its signature for one.
        return "" if text.startswith(f"{self.cls.__name__}(") else text

    @property
    def text(self) -> str:
        """The whole docstring, its indentation taken away."""
        return inspect.cleandoc(self.cls.__doc__ or "") if self.doc else ""

    @cached_property
    def parameters(self) -> dict[str, Parameter]:
        """The parameters by name, resolved at first use: annotations may name later classes."""
        try:
            hints = get_type_hints(self.cls, include_extras=True)
        except NameError as error:
            raise DeclarationError(
                f"The job {self.name} has a parameter whose type cannot be found: {error}."
            ) from error
        found = {}
        for field in fields(self.cls):
            hint = hints[field.name]
            extras: tuple[Any, ...] = ()
            if typing.get_origin(hint) is typing.Annotated:
                hint, *rest = typing.get_args(hint)
                extras = tuple(rest)
            required = field.default is MISSING and field.default_factory is MISSING
            masked = any(one is Masked or isinstance(one, Masked) for one in extras)
            default = None if required else field.default
            if field.default_factory is not MISSING:
                default = field.default_factory()
            found[field.name] = Parameter(field.name, hint, required, default, masked)
        return found

    def build(self, values: Mapping[str, Any], *, strict: bool = True) -> Any:
        """An instance from JSON values.

        Args:
            values: parameters by name.
            strict: False also takes text for numbers and dates, as a command line gives them.

        Raises:
            ParameterError: one is unknown, missing or of the wrong type.
        """
        parameters = self.parameters
        if unknown := sorted(set(values) - set(parameters)):
            known = ", ".join(parameters) or "none"
            raise ParameterError(
                f"The job {self.name} has no parameter {unknown[0]!r}; it has: {known}.",
                parameter=unknown[0],
            )
        converted = {}
        for name, parameter in parameters.items():
            if name in values:
                converted[name] = _convert(self.name, parameter, values[name], strict=strict)
            elif parameter.required:
                raise ParameterError(
                    f"The job {self.name} needs the parameter {name!r} ({parameter.type_name}).",
                    parameter=name,
                )
        return self.cls(**converted)

    def dump(self, instance: Any) -> dict[str, Any]:
        """The instance's parameters as JSON values, each checked against its type.

        Raises:
            ParameterError: a value is of the wrong type or cannot be stored as JSON.
        """
        values = {}
        for name, parameter in self.parameters.items():
            plain = self.plain(parameter, getattr(instance, name))
            # What a lane will read back, and that in one form: 3 for a float is 3.0.
            read = _convert(self.name, parameter, plain, strict=True)
            values[name] = self.plain(parameter, read)
        return values

    def plain(self, parameter: Parameter, value: Any) -> Any:
        """A value of a parameter as JSON values."""
        try:
            # In one order, too: two processes iterate over the same set differently.
            plain = msgspec.to_builtins(value, str_keys=True, order="deterministic")
            return json.loads(json.dumps(plain, allow_nan=False))
        except (TypeError, ValueError, RecursionError) as error:
            why = "" if parameter.masked else f": {error}"
            raise ParameterError(
                f"The parameter {parameter.name!r} of {self.name} cannot be stored as JSON{why}.",
                parameter=parameter.name,
            ) from (None if parameter.masked else error)

    def shown(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Stored parameters with secrets hidden."""
        if self.options.keeps_results and hasattr(self.cls, "shown"):
            own: dict[str, Any] = self.cls.shown(values)
            return own
        known = self.parameters
        return {
            name: "***" if name in known and known[name].masked else value
            for name, value in values.items()
        }

    def json_schema(self) -> dict[str, Any]:
        """The parameters as a JSON Schema, without the defaults of secrets."""
        parameters = self.parameters.values()
        types = [parameter.type for parameter in parameters]
        schemas, definitions = msgspec.json.schema_components(types, ref_template="#/$defs/{name}")
        properties: dict[str, Any] = {}
        for parameter, schema in zip(parameters, schemas, strict=True):
            described = dict(schema)
            if parameter.masked:
                described["writeOnly"] = True
            elif not parameter.required:
                described["default"] = self.plain(parameter, parameter.default)
            properties[parameter.name] = described
        whole: dict[str, Any] = {
            "type": "object",
            "properties": properties,
            "required": [parameter.name for parameter in parameters if parameter.required],
            "additionalProperties": False,
        }
        return whole | ({"$defs": definitions} if definitions else {})

    def source(self, instance: Any, run: JobRun) -> Source[Any] | Items[Any]:
        """What the job's ``source()`` gives for a run.

        Raises:
            SourceError: it is not something whose rows can be walked.
        """
        object.__setattr__(instance, "run", run)
        given = instance.source()
        if isinstance(given, Select):
            return table_source(given)
        if isinstance(given, Items):
            return given
        if hasattr(given, "walk") and hasattr(given, "fingerprint"):
            source: Source[Any] = given
            return source
        raise SourceError(
            f"source() of {self.name} returned {type(given).__name__}:"
            " return a select() of the rows to process, or Items(…) around an iterable."
        )


class Registry:
    """The jobs that one application knows: its own, and the unbound ones.

    Args:
        unbound: False: it knows only those that are added, as a Pyramid application does that
            scans for them.
    """

    def __init__(self, *, unbound: bool = True) -> None:
        self._own: dict[str, JobSpec] = {}
        self._takes_unbound = unbound

    def add(self, spec: JobSpec) -> None:
        """Register a job.

        Raises:
            DeclarationError: another class has that name already.
        """
        if self._takes_unbound:
            _refuse_other(_unbound, spec)
        _refuse_other(self._own, spec)
        self._own[spec.name] = spec

    def get(self, name: str) -> JobSpec:
        """The job of that name; its class's bare name will do where only one has it.

        Raises:
            UnknownJob: there is none.
        """
        known = self.all()
        if name in known:
            return known[name]
        matches = [spec for spec in self if spec.cls.__name__ == name]
        if len(matches) == 1:
            return matches[0]
        if matches:
            names = ", ".join(spec.name for spec in matches)
            raise UnknownJob(f"Several jobs are called {name}: say which of {names}.")
        names = ", ".join(spec.name for spec in self)
        listed = names or "none (is the module that declares them imported?)"
        raise UnknownJob(f"There is no job {name!r}; known jobs: {listed}.")

    def name_of(self, name: str) -> str:
        """The full name of a job, or what was given where no job is called that."""
        try:
            return self.get(name).name
        except UnknownJob:
            return name

    def of(self, job: Any) -> JobSpec:
        """The job that a class or an instance belongs to.

        Raises:
            UnknownJob: it was not declared with ``@bulk.job``.
        """
        cls = job if isinstance(job, type) else type(job)
        spec: JobSpec | None = cls.__dict__.get("__breakbulk_job__")
        if spec is None or self.all().get(spec.name) is not spec:
            way = "declare it with @bulk.job"
            if not self._takes_unbound:
                way = "declare it with @breakbulk.job in a module that config.scan() sees"
            raise UnknownJob(f"{cls.__name__} is not a job of this application: {way}.")
        return spec

    def all(self) -> dict[str, JobSpec]:
        """All jobs by name.

        Raises:
            DeclarationError: two unbound jobs have the same name.
        """
        if not self._takes_unbound:
            return dict(self._own)
        for spec in _doubles.values():
            _refuse_other(_unbound, spec)
        return _unbound | self._own

    def __iter__(self) -> Iterator[JobSpec]:
        """Those that somebody has declared, by name; not Breakbulk's own."""
        declared = (spec for spec in self.all().values() if not spec.options.keeps_results)
        return iter(sorted(declared, key=lambda spec: spec.name))


_unbound: dict[str, JobSpec] = {}
# Unbound jobs whose name another one has. Whether that is a mistake is for the application to say
# that knows both: in Pyramid one of them may override the other.
_doubles: dict[str, JobSpec] = {}


def parameters_hash(job: str, parameters: Mapping[str, Any]) -> str:
    """What tells whether two runs are of the same job with the same parameters."""
    canonical = json.dumps([job, parameters], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:32]


def declare(
    cls: type[T], add: Callable[[JobSpec], None], /, **given: Unpack[JobOptions]
) -> type[T]:
    """Make a class a job and register it.

    Raises:
        DeclarationError: the class or an option is not what a job needs.
    """
    return _declared(cls, add, Options.checked(cls.__name__, **given))


def declare_keeping(
    cls: type[T], add: Callable[[JobSpec], None], /, **given: Unpack[JobOptions]
) -> type[T]:
    """The same for a job of Breakbulk's own that keeps results.

    Its ``process`` is handed one item at a time, and returns or raises what
    :mod:`breakbulk.domain.verdict` has.

    Raises:
        DeclarationError: the class or an option is not what such a job needs.
    """
    options = Options.checked(cls.__name__, **given)
    if options.size != ChunkSize(1):
        raise DeclarationError(f"The job {cls.__name__} keeps results, so it needs chunk_size=1.")
    return _declared(cls, add, replace(options, keeps_results=True))


def _declared(cls: type[T], add: Callable[[JobSpec], None], options: Options) -> type[T]:
    label = f"The job {cls.__name__}"
    for method in ("source", "process"):
        if not callable(getattr(cls, method, None)):
            raise DeclarationError(f"{label} needs a method {method}(); for example:\n\n{_EXAMPLE}")
    for word in _RESERVED:
        if word in getattr(cls, "__annotations__", {}):
            raise DeclarationError(
                f"{label} has a parameter named {word!r}: choose another name,"
                f" self.{word} tells about the run."
            )
    try:
        declared = dataclass(frozen=True, kw_only=True, repr=False)(cls)
    except (TypeError, ValueError) as error:
        raise DeclarationError(f"{label} cannot be a dataclass: {error}.") from error
    spec = JobSpec(
        name=options.name or f"{cls.__module__}.{cls.__qualname__}",
        cls=declared,
        options=options,
    )
    declared.__breakbulk_job__ = spec  # type: ignore[attr-defined]
    if "__repr__" not in vars(cls):
        declared.__repr__ = _shown  # type: ignore[method-assign]
    add(spec)
    return declared


@dataclass_transform(kw_only_default=True, frozen_default=True)
def job(cls: type[T] | None = None, /, **options: Unpack[JobOptions]) -> Any:
    """Declare a job of no application in particular, as Celery's ``shared_task`` does.

    Every ``Breakbulk`` knows it once its module is imported; a Pyramid application, once
    ``config.scan()`` has found it. The options are those of ``Breakbulk.job``.
    """

    def decorate(target: type[T]) -> type[T]:
        declared = declare(target, _put_unbound, **options)
        _show_to_scan(declared, frames=2 if cls is None else 3)
        return declared

    return decorate if cls is None else decorate(cls)


def _put_unbound(spec: JobSpec) -> None:
    first = _unbound.setdefault(spec.name, spec)
    (_unbound if _place(first) == _place(spec) else _doubles)[spec.name] = spec


def _show_to_scan(cls: type[Any], *, frames: int) -> None:
    """Let Pyramid's scan find a job, if there is a Pyramid.

    Args:
        frames: how far up the stack the decorator was used, for error messages.
    """
    try:
        # What a scan looks for: a library of its own, without Pyramid.
        from venusian import attach
    except ImportError:
        return

    def found(scanner: Any, _name: str, found: type[Any]) -> None:
        config = getattr(scanner, "config", None)
        add = getattr(config, "add_breakbulk_job", None)
        if add is not None:
            add(found, _info=about.codeinfo)

    # Pyramid's own category, which is all that config.scan() looks for unless it is told otherwise.
    about = attach(cls, found, category="pyramid", depth=frames)


def _refuse_other(registered: dict[str, JobSpec], spec: JobSpec) -> None:
    other = registered.get(spec.name)
    # The same class again: its module was imported anew, as test runners and reloaders do.
    if other is not None and _place(other) != _place(spec):
        raise DeclarationError(
            f"Two jobs are called {spec.name!r} ({_place(other)} and {_place(spec)}):"
            " give one of them another name=."
        )


def _shown(job: Any) -> str:
    """A job as it may stand in a log: its secrets hidden."""
    spec: JobSpec = job.__breakbulk_job__
    given = {name: repr(getattr(job, name)) for name in spec.parameters}
    values = ", ".join(f"{name}={value}" for name, value in spec.shown(given).items())
    return f"{type(job).__qualname__}({values})"


def _place(spec: JobSpec) -> str:
    return f"{spec.cls.__module__}.{spec.cls.__qualname__}"


def _convert(job_name: str, parameter: Parameter, value: Any, *, strict: bool) -> Any:
    try:
        return msgspec.convert(value, parameter.type, strict=strict, str_keys=True)
    except msgspec.ValidationError as error:
        # What the error says may quote the value.
        shown = "what was given" if parameter.masked else f"{value!r} ({error})"
        raise ParameterError(
            f"The parameter {parameter.name!r} of {job_name} takes {parameter.type_name},"
            f" not {shown}.",
            parameter=parameter.name,
        ) from (None if parameter.masked else error)
