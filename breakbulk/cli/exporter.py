"""``breakbulk exporter``: the figures for Prometheus, and nothing else."""

from __future__ import annotations

from importlib.util import find_spec
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import click

from breakbulk.cli.application import Application
from breakbulk.cli.refusal import Refusal
from breakbulk.console import exits, output


class _Quiet(WSGIRequestHandler):
    """Says nothing of each scrape, and hangs up on whoever says nothing."""

    timeout = 10

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


@click.command(short_help="Serve /metrics for Prometheus.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option(
    "--port", type=click.IntRange(0, 65_535), default=9540, show_default=True, help="0: any."
)
@click.pass_obj
def exporter(application: Application, host: str, port: int) -> None:
    """Serve /metrics until Ctrl-C, to whoever can reach it.

    It tells the names of queues and jobs, and figures: nothing of rows or parameters. The dashboard
    has a /metrics, too, for whoever may look at it.
    """
    if find_spec("prometheus_client") is None:
        raise Refusal(
            "There is no prometheus_client here: pip install 'breakbulk[metrics]'.",
            exits.NO_FOUNDATION,
        )
    from breakbulk.metrics import make_wsgi_app

    bulk = application.ledger
    try:
        server: WSGIServer = make_server(host, port, make_wsgi_app(bulk), handler_class=_Quiet)
    except OSError as error:
        raise Refusal(
            f"The exporter cannot listen on {host} port {port} ({error.strerror or error}):"
            " choose another --port.",
            exits.ERROR,
        ) from error
    output.say(f"Serving http://{host}:{server.server_port}/metrics")
    try:
        server.serve_forever()
    finally:
        server.server_close()
