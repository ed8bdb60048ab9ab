"""Write the parts of the documentation that the code knows better: ``python -m docs.generate``.

Such a part stands between ``<!-- generated: name -->`` and ``<!-- end -->``. A test
(``tests/unit/test_docs.py``) fails when one of them is not what this program would write.
"""

from __future__ import annotations

import inspect
import json
import re
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from bench import outside
from bench.faults import table
from breakbulk import app, canvas, errors, jobs, settings, sources
from breakbulk.app import picture, tokens, webhooks
from breakbulk.cli import breakbulk as command_line
from breakbulk.domain import (
    backlog,
    chunkmap,
    failed,
    options,
    progress,
    run,
    series,
    token,
    webhook,
)
from breakbulk.domain.status import lifecycle_diagram
from breakbulk.errors import BreakbulkError
from breakbulk.pyramid import events, permissions, request
from breakbulk.pyramid import jobs as pyramid_jobs
from breakbulk.pyramid import settings as pyramid_settings
from breakbulk.pyramid.celery import celery_app, load_in_workers
from breakbulk.runner import audit, chunk, context, retry, submit, whereabouts
from breakbulk.runner import webhooks as hooks
from breakbulk.web import settings as web_settings
from breakbulk.web.api import contract, problems
from docs import at_scale, costs, proofs

HOME = Path(__file__).parent
README = HOME.parent / "README.md"
EXAMPLE = HOME.parent / "examples" / "one_file" / "shop.py"
OUTSIDE = HOME.parent / "bench" / "results" / "outside.json"
FAULTS = HOME.parent / "bench" / "results" / "faults.json"
_PART = re.compile(r"(<!-- generated: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_SECTION = re.compile(r"^(Args|Attributes|Returns|Raises[^:\n]*):$", re.MULTILINE)
_ENTRY = re.compile(r"^((?:\w+,\s)*\w+): (.*(?:\n .*)*)", re.MULTILINE)
#: Classes that users hold in their hands, in the order in which they meet them.
_CLASSES: tuple[type, ...] = (
    app.Breakbulk,
    app.RunHandle,
    chunk.Chunk,
    chunk.RunInfo,
    chunk.FinishedRun,
    chunk.SubmittedRun,
    context.Context,
    context.Notify,
    whereabouts.LogContext,
    run.Summary,
    retry.Retried,
    failed.QuarantinedRow,
    failed.FailureReport,
    failed.FailureGroup,
    progress.Progress,
    backlog.Backlog,
    backlog.QueueBacklog,
    backlog.RunBacklog,
    picture.Picture,
    submit.Plan,
    audit.Audit,
    chunkmap.ChunkMap,
    chunkmap.Cell,
    series.Series,
    series.Point,
    webhooks.Webhooks,
    hooks.Registered,
    webhook.Endpoint,
    webhook.Delivery,
    hooks.DeliveryLog,
    webhook.Try,
    webhook.Answer,
    jobs.JobRun,
    jobs.Masked,
    tokens.Tokens,
    token.IssuedToken,
    token.Token,
)
#: What answers of the REST API hold that is worth a table of its own.
_SHOWN = (
    *("Job", "Plan", "Run", "Progress", "Chunk", "Failure", "FailureGroup", "QuarantinedRow"),
    *("Activity", "Retried", "Worker", "QueueBacklog", "RunBacklog"),
)
#: Public in the code because other rooms of the house use them, but not for users.
_INTERNAL = {"nudge", "work_here", "reading", "runtime", "import_modules", "broker", "nudges"}
_INTERNAL |= {"followed_by", "led_by"}


def main() -> None:
    """Write every generated part anew."""
    for path in (README, *pages()):
        text = path.read_text(encoding="utf-8")
        path.write_text(renewed(text), encoding="utf-8")


def pages() -> list[Path]:
    """Every page of the documentation."""
    return sorted(HOME.rglob("*.md"))


def renewed(text: str) -> str:
    """A page with its generated parts as they should be."""
    return _PART.sub(_part, text)


def _part(found: re.Match[str]) -> str:
    return f"{found[1]}\n{PARTS[found[2]]().strip()}\n\n{found[3]}"


def _settings() -> str:
    reasons = dict(_entries(inspect.getdoc(settings.Settings) or ""))
    lines = ["| setting | default | what it is, and why so |", "|---|---|---|"]
    lines += [
        f"| `{field.name}` | {field.default} | {_cell(reasons[field.name])} |"
        for field in fields(settings.Settings)
    ]
    return "\n".join(lines)


def _prefixed_settings(kind: type[Any], prefix: str) -> str:
    meanings = dict(_entries(inspect.getdoc(kind) or ""))
    lines = ["| setting | default | |", "|---|---|---|"]
    for field in fields(kind):
        default = "" if field.default is None else f"`{field.default}`"
        name = f"{prefix}{field.name}"
        lines.append(f"| `{name}` | {default} | {_cell(meanings[field.name])} |")
    return "\n".join(lines)


def _events() -> str:
    kinds = [one for one in vars(events).values() if _is_event(one)]
    return "\n\n".join(_class(kind, level=3) for kind in kinds)


def _is_event(one: object) -> bool:
    return isinstance(one, type) and issubclass(one, events.RunEvent)


def _permissions() -> str:
    asked = (permissions.may, permissions.require)
    return "\n\n".join(_function(one.__name__, one, level=3) for one in asked)


def _options() -> str:
    meanings = _entries(inspect.getdoc(options.JobOptions) or "")
    lines = ["| option | |", "|---|---|"]
    lines += [f"| `{name}` | {_cell(meaning)} |" for name, meaning in meanings]
    return "\n".join(lines)


def _error_tree() -> str:
    tree = (errors.__doc__ or "").partition("::\n\n")[2].partition("\n\nControl")[0]
    return f"```text\n{textwrap.dedent(tree)}\n```"


def _error_codes() -> str:
    lines = ["| error | what it says | exit code |", "|---|---|---|"]
    for error in public_errors():
        code = str(error.exit_code) if issubclass(error, BreakbulkError) else ""
        first = (error.__doc__ or "").partition("\n\n")[0]
        lines.append(f"| `{error.__name__}` | {_cell(first)} | {code} |")
    return "\n".join(lines)


def public_errors() -> list[type[Exception]]:
    """Every exception of the module, in the order of the code."""
    return [
        one
        for one in vars(errors).values()
        if isinstance(one, type)
        and issubclass(one, Exception)
        and one.__module__ == errors.__name__
    ]


def verbs() -> Iterator[tuple[str, click.Command]]:
    """Every verb that is shown, with its full name; those of groups, too."""
    context = click.Context(command_line, info_name="breakbulk")
    for name in command_line.list_commands(context):
        command = command_line.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            for part in command.list_commands(context):
                found = command.get_command(context, part)
                assert found is not None
                yield f"{name} {part}", found
        elif not command.hidden:
            yield name, command


def _command_line() -> str:
    return "\n\n".join(_verb(name, command) for name, command in verbs())


def _verb(name: str, command: click.Command) -> str:
    arguments = [
        one.make_metavar(click.Context(command))
        for one in command.params
        if isinstance(one, click.Argument)
    ]
    usage = " ".join(["breakbulk", name, "[OPTIONS]", *arguments])
    text = inspect.cleandoc(command.help or "").replace("\b\n", "")
    parts = [f"## `{name}`", f"```text\n{usage}\n```", text]
    options = [one for one in command.params if isinstance(one, click.Option) and not one.hidden]
    if options:
        lines = ["| option | |", "|---|---|"]
        lines += [_option(command, option) for option in options]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _option(command: click.Command, option: click.Option) -> str:
    names = ", ".join([*option.opts, *option.secondary_opts])
    value = "" if option.is_flag else f" {option.make_metavar(click.Context(command))}"
    told, default = option.default, ""
    if isinstance(told, int | float | str) and not option.is_flag and not option.multiple:
        default = f" Default: {f'{told:g}' if isinstance(told, float) else told}."
    name = f"{names}{value}".replace("|", "\\|")
    return f"| `{name}` | {_cell((option.help or '') + default)} |"


def _interface() -> str:
    parts = [_function("breakbulk.job", jobs.job), _function("table_source", sources.table_source)]
    return "\n\n".join([*(_class(one) for one in _CLASSES), *parts, _class(sources.Items)])


def _canvas() -> str:
    kinds = (canvas.group, canvas.chord, canvas.chain)
    whole = canvas.group.__mro__[1]
    parts = [*(_class(one, level=3) for one in kinds), _applied(whole)]
    found = _function("breakbulk.canvas.result", canvas.result, level=3)
    return "\n\n".join([*parts, _class(canvas.CanvasResult, level=3), found])


def _applied(whole: type) -> str:
    """What all three of them have."""
    return "\n\n".join(["### Of all three", *_members(whole, 4)])


def _class(cls: type, level: int = 2) -> str:
    name = f"{'#' * level} `{cls.__name__}`"
    return "\n\n".join([name, _rendered(inspect.getdoc(cls) or ""), *_members(cls, level + 1)])


def _members(cls: type, level: int) -> Iterator[str]:
    for name, member in vars(cls).items():
        if name.startswith("_") or name in _INTERNAL:
            continue
        if isinstance(member, property):
            yield f"{'#' * level} `.{name}`\n\n{_rendered(inspect.getdoc(member) or '')}"
        elif inspect.isfunction(member):
            yield _function(f".{name}", member, level=level)


def _function(name: str, function: Callable[..., object], level: int = 2) -> str:
    given = [one for one in inspect.signature(function).parameters.values() if one.name != "self"]
    signature = inspect.Signature(
        [one.replace(annotation=inspect.Parameter.empty) for one in given]
    )
    shown = re.sub(r"<[\w.]+: ('\w+')>", r"\1", str(signature)).replace(", /", "")
    return f"{'#' * level} `{name}{shown}`\n\n{_rendered(inspect.getdoc(function) or '')}"


def _rendered(doc: str) -> str:
    """A docstring in Google's style as Markdown."""
    pieces = _SECTION.split(doc)
    parts = [_marked(pieces[0])]
    for title, body in zip(pieces[1::2], pieces[2::2], strict=True):
        inside, _, after = body.strip("\n").partition("\n\n")
        found = list(_entries(f"{title}:\n{inside}"))
        listed = [f"* `{name}`: {_marked(' '.join(text.split()))}" for name, text in found]
        content = "\n".join(listed) if listed else _marked(textwrap.dedent(inside))
        parts.append(f"{title}:\n\n{content}" if title != "Raises" or listed else content)
        if after.strip():
            parts.append(_marked(textwrap.dedent(after)))
    return "\n\n".join(part.strip() for part in parts if part.strip())


def _entries(doc: str) -> Iterator[tuple[str, str]]:
    """Names and texts of the first section of a docstring that has such."""
    section = _SECTION.search(doc)
    if section is None:
        return
    body = textwrap.dedent(doc[section.end() :].strip("\n").partition("\n\n")[0])
    for found in _ENTRY.finditer(body):
        yield " ".join(found[1].split()), " ".join(found[2].split())


def _cell(text: str) -> str:
    return _marked(" ".join(text.split())).replace("|", "\\|")


def _marked(text: str) -> str:
    text = re.sub(r":\w+:`[~.]*([\w.]+)`", r"`\1`", text)
    return text.replace("``", "`").replace("::\n", ":\n")


def _rest_api() -> str:
    found = contract.document()
    parts = []
    for tag in found["tags"]:
        parts.append(f"## {tag['name'].capitalize()}\n\n{tag['description']}")
        parts += [
            _operation(method, path, item)
            for path, item in found["paths"].items()
            for method in ("get", "post")
            if tag["name"] in item.get(method, {"tags": ()})["tags"]
        ]
    parts.append("## What is in the answers")
    parts += [
        f"### {name}\n\n{_fields(_resolved({'$ref': f'/schemas/{name}'}))}" for name in _SHOWN
    ]
    return "\n\n".join(parts)


def _operation(method: str, path: str, item: dict[str, Any]) -> str:
    operation = item[method]
    parts = [f"### `{method.upper()} {path}`", operation["summary"]]
    parts += [operation["description"].strip()] if "description" in operation else []
    given = [_resolved(one) for one in operation.get("parameters", ())]
    lines = ["| parameter | |", "|---|---|"]
    lines += [
        f"| `{one['name']}` ({one['in']}) | {_cell(one['description'])}{_bounds(one['schema'])} |"
        for one in given
    ]
    parts += ["\n".join(lines)] if given else []
    if "requestBody" in operation:
        body = operation["requestBody"]["content"]["application/json"]
        parts.append("Body:\n\n" + _fields(_resolved(body["schema"])))
    status, answer = next(iter(operation["responses"].items()))
    schema = answer["content"]["application/json"]["schema"]
    parts.append(f"Answer: {status}, {_kind(schema)}.")
    return "\n\n".join(parts)


def _fields(schema: dict[str, Any]) -> str:
    needed = set(schema.get("required", ()))
    lines = ["| field | type | |", "|---|---|---|"]
    for name, one in schema["properties"].items():
        known = _resolved(one)
        text = one.get("description", known.get("description", ""))
        # Of an answer, all are there.
        must = " Needed." if name in needed < set(schema["properties"]) else ""
        lines.append(f"| `{name}` | {_kind(one)} | {_cell(text + must)}{_bounds(known)} |")
    return "\n".join(lines)


def _kind(schema: dict[str, Any]) -> str:
    name = schema.get("$ref", "").rpartition("/")[2]
    if name in _SHOWN:
        return f"[{name}](#{name.lower()})"
    schema = _resolved(schema)
    if schema["type"] == "array":
        return f"list of {_kind(schema['items'])}"
    if "properties" in schema:
        inside = (f"`{name}`: {_kind(one)}" for name, one in schema["properties"].items())
        return f"object of {', '.join(inside)}"
    kind = schema["type"]
    return kind if isinstance(kind, str) else " or ".join(kind)


def _bounds(schema: dict[str, Any]) -> str:
    schema = _resolved(schema.get("items", schema))
    said = ""
    if "enum" in schema:
        said = "One of " + ", ".join(f"`{one}`" for one in schema["enum"]) + "."
    elif "exclusiveMinimum" in schema:
        said = f"Above {schema['exclusiveMinimum']}, up to {schema['maximum']:,}."
    elif "maximum" in schema:
        said = f"{schema['minimum']} to {schema['maximum']:,}."
    if "default" in schema:
        said += f" Default: `{json.dumps(schema['default'])}`."
    return f" {said.strip()}" if said else ""


def _resolved(part: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in part:
        return part
    *_, kind, name = part["$ref"].split("/")
    found: dict[str, Any] = contract.document()["components"][kind][name]
    return found


def _problems() -> str:
    lines = ["| type | status | title |", "|---|---|---|"]
    lines += [f"| `{one.name}` | {one.status} | {one.title} |" for one in problems.known_problems()]
    return "\n".join(lines)


def _example() -> str:
    return f"```python\n{EXAMPLE.read_text(encoding='utf-8').strip()}\n```"


def _faults() -> str:
    """What came of the faults that strike Breakbulk and its peers, as it was measured."""
    return table.grid(json.loads(FAULTS.read_text("utf-8")))


def _outside() -> str:
    """What came of the scenarios of Celery's chord, as it was run."""
    results = json.loads(OUTSIDE.read_text("utf-8"))
    return f"{outside.about(results)}\n\n{outside.tables(results, heading='##')}"


PARTS: dict[str, Callable[[], str]] = {
    "options": _options,
    "settings": _settings,
    "error-tree": _error_tree,
    "errors": _error_codes,
    "command-line": _command_line,
    "interface": _interface,
    "canvas": _canvas,
    "lifecycle": lifecycle_diagram,
    "example": _example,
    "pyramid-settings": lambda: _prefixed_settings(
        pyramid_settings.PyramidSettings, pyramid_settings.PREFIX
    ),
    "web-settings": lambda: _prefixed_settings(web_settings.WebSettings, web_settings.PREFIX),
    "pyramid-request": lambda: "\n\n".join(_members(request.RequestBreakbulk, 3)),
    "pyramid-directive": lambda: _rendered(inspect.getdoc(pyramid_jobs.add_breakbulk_job) or ""),
    "pyramid-events": _events,
    "pyramid-permissions": _permissions,
    "pyramid-celery": lambda: "\n\n".join(
        _function(one.__name__, one, level=3) for one in (celery_app, load_in_workers)
    ),
    "rest-api": _rest_api,
    "problems": _problems,
    "invariants": proofs.invariants,
    "defects": proofs.defects,
    "faults": _faults,
    "outside": _outside,
    "scale-ledger": at_scale.ledger,
    "scale-lanes": at_scale.lanes,
    "scale-paper": at_scale.paper,
    "scale-nodes": at_scale.nodes,
    "chord": costs.chord,
    "cost-chunk": costs.chunk,
    "cost-beside": costs.beside,
    "cost-billion": costs.billion,
}

if __name__ == "__main__":
    main()
