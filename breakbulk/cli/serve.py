"""``breakbulk serve``: the dashboard."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

import click

from breakbulk.cli.application import Application
from breakbulk.cli.refusal import Refusal
from breakbulk.console import exits, output

if TYPE_CHECKING:
    from breakbulk.web import AccessPolicy


@click.command
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option(
    "--port", type=click.IntRange(0, 65_535), default=8440, show_default=True, help="0: any."
)
@click.option(
    "--access",
    metavar="MODULE:FUNCTION",
    help="Says who may in, from the WSGI environment; needed wherever others can reach it.",
)
@click.option("--title", default="Breakbulk", show_default=True, help="Shown at the top.")
@click.pass_obj
def serve(application: Application, host: str, port: int, access: str | None, title: str) -> None:
    """Serve the dashboard until Ctrl-C, to this machine unless --access says who else may in."""
    if not all(find_spec(name) for name in ("pyramid", "pyramid_openapi3", "waitress")):
        raise Refusal(
            "The dashboard is not installed: pip install 'breakbulk[web]'.", exits.NO_FOUNDATION
        )
    from breakbulk.web.server import make_server

    bulk = application.ledger
    policy = None if access is None else _policy(access)
    server = make_server(
        bulk,
        host=host,
        port=port,
        access=policy,
        title=title,
        announce=lambda link: output.say(f"Open {link}"),
    )
    if policy is not None:
        output.say(f"Open {server.url}")
    output.warn("Ctrl-C stops the dashboard; runs go on.")
    try:
        server.run()
    finally:
        server.close()


def _policy(target: str) -> AccessPolicy:
    module, _, name = target.partition(":")
    try:
        found: AccessPolicy | None = getattr(import_module(module), name, None)
    except ImportError as error:
        raise Refusal(f"--access {target} cannot be imported: {error}.", exits.USAGE) from error
    if not callable(found):
        raise Refusal(
            f"--access {target} is not a function: give one that takes the WSGI environment and"
            " returns an Access or None, as in shop.web:access.",
            exits.USAGE,
        )
    return found
