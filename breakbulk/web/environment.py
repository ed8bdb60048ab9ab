"""How values are written on pages."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from jinja2 import Environment, StrictUndefined
from pyramid.config import Configurator
from pyramid.events import BeforeRender

from breakbulk.console import words
from breakbulk.domain.status import FINISHED, ChunkStatus, RunStatus
from breakbulk.web import assets, mosaic, protection
from breakbulk.web.preferences import Preferences

_THOUSAND, _HUNDRED = 1000, 100
_SIZES = ("bytes", "kB", "MB", "GB", "TB", "PB")


def add_environment(config: Configurator) -> None:
    """Set the templates up."""
    config.include("pyramid_jinja2")
    config.add_jinja2_renderer(".jinja2", settings_prefix="jinja2.")
    config.commit()
    for environment in (
        config.get_jinja2_environment(name=".jinja2"),
        config.get_jinja2_environment(),
    ):
        dress(environment)
    config.add_subscriber(_add_globals, BeforeRender)


def dress(environment: Environment) -> None:
    """Give an environment what our templates need."""
    environment.undefined = StrictUndefined
    environment.trim_blocks = environment.lstrip_blocks = True
    environment.filters.update(
        number=words.number,
        duration=words.duration,
        took=took,
        counted=words.counted,
        moment=words.moment,
        percent=words.percent,
        rows=words.rows,
        left=words.left,
        size=size,
        first_line=first_line,
        as_json=as_json,
        linked=mosaic.linked,
        plain=mosaic.plain,
    )
    environment.globals.update(
        FINISHED=FINISHED,
        RunStatus=RunStatus,
        ChunkStatus=ChunkStatus,
        goes_on=goes_on,
        first_chunk=words.first_chunk,
        walked_to=words.walked_to,
        period=period,
    )


def _add_globals(event: BeforeRender) -> None:
    request = event["request"]
    event["preferences"] = Preferences.of(request)
    event["csrf_token"] = protection.token(request)
    event["asset"] = lambda name: assets.url(request, name)
    event["title"] = request.registry.settings["breakbulk.title"]


def took(seconds: float) -> str:
    """How long a chunk took, which may well be some milliseconds."""
    return words.duration(seconds) if seconds >= 1 else f"{max(seconds, 0) * 1000:.0f} ms"


def period(began: datetime | None, ended: datetime) -> str:
    """From when to when, without saying anything twice."""
    last = words.moment(ended)
    if began is None or words.moment(began) == last:
        return last
    if began.date() == ended.date():
        return f"{began:%Y-%m-%d %H:%M:%S} to {ended:%H:%M:%S} UTC"
    return f"{began:%Y-%m-%d %H:%M:%S} to {last}"


def size(count: float) -> str:
    """Bytes, in the unit that fits: ``1.4 GB``."""
    sizes = [(unit, count / _THOUSAND**n) for n, unit in enumerate(_SIZES)]
    unit, value = next((one for one in sizes if one[1] < _THOUSAND), sizes[-1])
    exact = unit == _SIZES[0] or value >= _HUNDRED
    return f"{value:.0f} {unit}" if exact else f"{value:.1f} {unit}"


def first_line(text: str | None) -> str:
    """The first line of a message."""
    return (text or "").partition("\n")[0]


def as_json(value: Any) -> str:
    """A value as one would type it into a form or a command line."""
    if isinstance(value, datetime):
        return value.isoformat()
    return json.dumps(value, ensure_ascii=False, default=str)


def goes_on(status: RunStatus) -> bool:
    """Whether anything may still change by itself."""
    return status not in FINISHED
