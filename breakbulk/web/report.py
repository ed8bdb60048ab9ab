"""A run as one HTML page that needs nothing else: to be kept, mailed, printed.

It asks nobody for anything, not even for a font: style and pictures are inside, and its own
Content-Security-Policy forbids the rest, whatever rows, exceptions and parameters say.
"""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files

from jinja2 import Environment, PackageLoader
from markupsafe import Markup

import breakbulk
from breakbulk.app import Breakbulk, RunHandle
from breakbulk.web.environment import dress
from breakbulk.web.plot import plot

#: What is bounded says how much more there is.
KINDS, ROWS, SLOWEST, ACTIVITY = 50, 200, 20, 200


def report(bulk: Breakbulk, handle: RunHandle) -> str:
    """The page, with everything about a run as it is now.

    Raises:
        RunNotFound: the run is no more.
    """
    seen = handle.picture(slowest=SLOWEST, activity=ACTIVITY)
    quarantine = handle.errors(limit=ROWS)
    return (
        _environment()
        .get_template("report.jinja2")
        .render(
            seen=seen,
            run=seen.run,
            progress=seen.progress,
            parameters=bulk.shown_parameters(seen.run),
            plot=plot(seen.series),
            kinds=KINDS,
            quarantine=quarantine,
            quarantined=handle.quarantined(),
            style=Markup(_style()),  # noqa: S704  (our own file)
            style_hash=_hash(_style()),
            made_at=datetime.now(UTC),
            version=breakbulk.__version__,
        )
    )


@cache
def _environment() -> Environment:
    made = Environment(loader=PackageLoader("breakbulk.web"), autoescape=True)
    dress(made)
    return made


@cache
def _style() -> str:
    return files("breakbulk.web").joinpath("static", "report.css").read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
