"""The two groups of verbs, and how an error becomes a sentence and an exit code."""

from __future__ import annotations

import errno
import io
import logging
import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import click

from breakbulk import __version__
from breakbulk.cli.application import Application
from breakbulk.cli.refusal import Refusal
from breakbulk.errors import BreakbulkError

_VERBS = {
    "jobs": "breakbulk.cli.jobs:jobs",
    "plan": "breakbulk.cli.plan:plan",
    "run": "breakbulk.cli.run:run",
    "runs": "breakbulk.cli.runs:runs",
    "status": "breakbulk.cli.runs:status",
    "watch": "breakbulk.cli.watch:watch",
    "pause": "breakbulk.cli.control:pause",
    "resume": "breakbulk.cli.control:resume",
    "cancel": "breakbulk.cli.control:cancel",
    "lanes": "breakbulk.cli.control:lanes",
    "limit": "breakbulk.cli.limits:limit",
    "retry": "breakbulk.cli.retry:retry",
    "finish": "breakbulk.cli.retry:finish",
    "errors": "breakbulk.cli.errors:errors",
    "chunks": "breakbulk.cli.chunks:chunks",
    "audit": "breakbulk.cli.audit:audit",
    "webhooks": "breakbulk.cli.webhooks:webhooks",
    "backlog": "breakbulk.cli.backlog:backlog",
    "autoscale": "breakbulk.cli.autoscale:autoscale",
    "report": "breakbulk.cli.report:report",
    "serve": "breakbulk.cli.serve:serve",
    "exporter": "breakbulk.cli.exporter:exporter",
    "token": "breakbulk.cli.token:token",
    "prune": "breakbulk.cli.prune:prune",
    "doctor": "breakbulk.cli.doctor:doctor",
    "healthcheck": "breakbulk.cli.healthcheck:healthcheck",
    "db": "breakbulk.cli.db:db",
    "lane": "breakbulk.cli.lane:lane",
}
_DEMO = "breakbulk.demo.command"
_INTERRUPTED = 130
_CODES = """\b
Exit codes:
  0  succeeded          3  partial            6  still going on: out of time, or let go
  1  error, or an       4  cancelled          7  no database, broker or fitting schema
     audit's finding    5  paused or held     8  failed
  2  usage
"""
_EXAMPLES = """\b
Examples:
  breakbulk -A shop.jobs:bulk jobs
  breakbulk -A shop.jobs:bulk plan ProcessWarehouse -p rate=1.05
  breakbulk -A shop.jobs:bulk run ProcessWarehouse -p rate=1.05 --watch
  BREAKBULK_APP=shop.jobs:bulk breakbulk status 12 --json
  breakbulk -A development.ini runs
"""
_CELERY_EXAMPLES = """\b
Examples:
  celery -A shop breakbulk jobs
  celery -A shop breakbulk run ProcessWarehouse -p rate=1.05 --watch
"""
_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class Verbs(click.Group):
    """A group that loads a verb when it is asked for, and tells errors in one sentence."""

    def __init__(self, *args: Any, verbs: dict[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._verbs = verbs

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs, in the order in which one meets them."""
        return [*self._verbs, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load a verb."""
        place = self._verbs.get(cmd_name)
        if place is None:
            return super().get_command(ctx, cmd_name)
        module, _, name = place.partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run a verb; whatever goes wrong is told in one sentence, unless --debug."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("Interrupted.", err=True)
            ctx.exit(_INTERRUPTED)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            if ctx.params.get("debug") or getattr(error, "errno", None) == errno.EPIPE:
                raise
            raise _refusal(error) from error


def _refusal(error: Exception) -> Refusal:
    if isinstance(error, BreakbulkError):
        return Refusal(str(error), error.exit_code)
    sentence = str(error).strip().partition("\n")[0]
    return Refusal(
        f"{type(error).__name__}: {sentence} (--debug or BREAKBULK_DEBUG=1 shows where)", 1
    )


def _prepare(*, debug: bool) -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Rather a character spelt out than no answer, on a terminal that has not all of them.
            stream.reconfigure(errors="backslashreplace")
    if debug:
        logging.basicConfig(level=logging.DEBUG, format="%(levelname)s %(name)s: %(message)s")
    # What an operator must know is said by the verbs; the log of a library is not for them.
    logging.getLogger("breakbulk").addHandler(logging.NullHandler())


_debug_option = click.option(
    "--debug", is_flag=True, envvar="BREAKBULK_DEBUG", help="Show tracebacks and logs."
)


@click.group(
    name="breakbulk",
    cls=Verbs,
    verbs=_VERBS | ({"demo": f"{_DEMO}:demo"} if find_spec(_DEMO) else {}),
    context_settings=_SETTINGS,
    epilog=f"{_EXAMPLES}\n{_CODES}",
)
@click.option(
    "-A",
    "--app",
    "target",
    envvar="BREAKBULK_APP",
    metavar="MODULE:NAME",
    help="Your application: where its Breakbulk(…) is, or the module alone; of a Pyramid"
    " application, its .ini.  [env: BREAKBULK_APP]",
)
@_debug_option
@click.version_option(__version__, prog_name="breakbulk")
@click.pass_context
def breakbulk(ctx: click.Context, target: str | None, *, debug: bool) -> None:
    """Run one big job over many rows, in small chunks, on the Celery workers you have."""
    _prepare(debug=debug)
    source = ctx.get_parameter_source("target")
    given = target if source is click.core.ParameterSource.COMMANDLINE else None
    ctx.obj = application = Application(
        target, command="breakbulk" + (f" -A {given}" if given else "")
    )
    ctx.call_on_close(application.close)


@click.group(
    name="breakbulk",
    cls=Verbs,
    verbs=_VERBS,
    context_settings=_SETTINGS,
    epilog=f"{_CELERY_EXAMPLES}\n{_CODES}",
)
@_debug_option
@click.pass_context
def celery_command(ctx: click.Context, *, debug: bool) -> None:
    """Run big jobs over many rows in small chunks (Breakbulk)."""
    _prepare(debug=debug)
    name = ctx.find_root().params.get("app")
    where = f" -A {name}" if isinstance(name, str) else ""
    ctx.obj = application = Application(celery=ctx.obj.app, command=f"celery{where} breakbulk")
    ctx.call_on_close(application.close)
