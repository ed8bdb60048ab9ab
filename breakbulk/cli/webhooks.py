"""``breakbulk webhooks``: who outside is told of runs, and what was delivered."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from breakbulk.cli.application import Application
from breakbulk.cli.options import ID, json_option, limit_option
from breakbulk.console import exits, output, words
from breakbulk.domain.event import EventType

if TYPE_CHECKING:
    from breakbulk.app.webhooks import Webhooks
    from breakbulk.domain.webhook import Answer, Endpoint
    from breakbulk.runner.webhooks import Registered


@click.group
def webhooks() -> None:
    """Tell others of runs by HTTP, signed by the Standard Webhooks specification."""


def _endpoint_argument(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.argument("endpoint_id", metavar="ENDPOINT", type=int)(function)


def _delivery_argument(*, required: bool) -> Callable[..., Any]:
    metavar = "DELIVERY" if required else "[DELIVERY]"
    return click.argument("delivery_id", metavar=metavar, type=int, required=required)


@webhooks.command
@click.argument("url")
@click.option("--job", help="Only runs of this job.")
@click.option(
    "--event",
    "events",
    multiple=True,
    type=click.Choice([str(one) for one in EventType]),
    help="Only these; may be given several times.",
)
@json_option
@click.pass_obj
def add(
    application: Application, url: str, job: str | None, events: tuple[str, ...], *, as_json: bool
) -> None:
    """Register an endpoint: from now on events are posted to URL."""
    registered = application.bulk.webhooks.add(url, job=job, events=events)
    if not as_json:
        output.say(f"Endpoint {registered.endpoint.id} is registered.")
    _show_secret(registered, as_json=as_json)
    if not as_json:
        hint = application.hint("webhooks", "test", registered.endpoint.id)
        output.warn(f"See whether it answers with: {hint}")


@webhooks.command("list")
@json_option
@click.pass_obj
def list_(application: Application, *, as_json: bool) -> None:
    """List the endpoints, and how they are doing."""
    found = _webhooks(application).endpoints()
    if as_json:
        output.document({"endpoints": [one.as_dict() for one in found]})
        return
    if not found:
        output.say("No endpoint is registered.")
        return
    output.table(
        ("endpoint", "url", "job", "events", "state", "why"),
        [
            (
                one.id,
                one.url,
                one.job or "all",
                ", ".join(one.events) or "all",
                _state(one),
                one.reason or _failing(one),
            )
            for one in found
        ],
    )


@webhooks.command
@_endpoint_argument
@click.pass_obj
def remove(application: Application, endpoint_id: int) -> None:
    """Take an endpoint away, with its deliveries."""
    _webhooks(application).remove(endpoint_id)
    output.say(f"Endpoint {endpoint_id} is removed, with its deliveries.")


@webhooks.command
@_endpoint_argument
@click.pass_obj
def enable(application: Application, endpoint_id: int) -> None:
    """Send to an endpoint again, also what has waited for it meanwhile."""
    _webhooks(application).enable(endpoint_id)
    output.say(f"Endpoint {endpoint_id} is on.")


@webhooks.command
@_endpoint_argument
@click.pass_obj
def disable(application: Application, endpoint_id: int) -> None:
    """Send nothing to an endpoint; of what happens meanwhile it is never told."""
    _webhooks(application).disable(endpoint_id)
    output.say(f"Endpoint {endpoint_id} is off.")


@webhooks.command
@_endpoint_argument
@json_option
@click.pass_obj
def rotate(application: Application, endpoint_id: int, *, as_json: bool) -> None:
    """Give an endpoint another secret; for 24 hours the one before it signs, too."""
    registered = _webhooks(application).rotate(endpoint_id)
    _show_secret(registered, as_json=as_json)
    if not as_json:
        output.warn("For 24 hours the secret before it signs, too.")


@webhooks.command
@_endpoint_argument
@json_option
@click.pass_obj
def test(application: Application, endpoint_id: int, *, as_json: bool) -> None:
    """Send a ping now, from here, and say what came back; exits with 1 unless that was 2xx."""
    answer = _webhooks(application).test(endpoint_id)
    if as_json:
        output.document(
            {
                "delivered": answer.delivered,
                "code": answer.code,
                "milliseconds": answer.milliseconds,
                "answer": answer.text,
                "error": answer.error,
            }
        )
    else:
        output.say(f"{_said(answer).removesuffix('.')} ({answer.milliseconds} ms).")
        if answer.text:
            output.say(answer.text)
        output.warn(
            f"This process sent it, on {socket.gethostname()}, by its own webhook_allow. Events are"
            " sent by workers, by theirs: restart them after a change."
        )
    if not answer.delivered:
        click.get_current_context().exit(exits.ERROR)


@webhooks.command
@_delivery_argument(required=False)
@click.option("--run", "run_id", type=ID, help="Only of this run.")
@click.option("--endpoint", "endpoint_id", type=ID, help="Only to this endpoint.")
@click.option("--before", type=ID, help="Only those before this delivery: the next page.")
@limit_option(20)
@json_option
@click.pass_obj
def deliveries(
    application: Application,
    delivery_id: int | None,
    *,
    run_id: int | None,
    endpoint_id: int | None,
    before: int | None,
    limit: int,
    as_json: bool,
) -> None:
    """List deliveries, newest first; of one DELIVERY, its payload and every try."""
    if delivery_id is not None:
        _one(application, delivery_id, as_json=as_json)
        return
    found = _webhooks(application).deliveries(
        run=run_id, endpoint=endpoint_id, before=before, limit=limit
    )
    following = found[-1].id if len(found) == limit else None
    if as_json:
        output.document({"deliveries": [one.as_dict() for one in found], "before": following})
        return
    if not found:
        output.say("Nothing was to be delivered.")
        return
    output.table(
        ("delivery", "event", "run", "to", "status", "tries", "since"),
        [
            (
                one.id,
                one.event,
                one.run,
                "link" if one.endpoint is None else f"endpoint {one.endpoint}",
                one.status,
                one.tries,
                words.moment(one.created_at),
            )
            for one in found
        ],
    )
    if following is not None:
        more = application.hint("webhooks", "deliveries", "--before", following)
        output.warn(f"More: {more}")


@webhooks.command
@_delivery_argument(required=True)
@json_option
@click.pass_obj
def replay(application: Application, delivery_id: int, *, as_json: bool) -> None:
    """Send the event of DELIVERY once more, under the same webhook-id."""
    delivery = _webhooks(application).replay(delivery_id)
    if as_json:
        output.document(delivery.as_dict())
    else:
        output.say(f"It is sent again as delivery {delivery.id}.")


def _one(application: Application, delivery_id: int, *, as_json: bool) -> None:
    log = _webhooks(application).delivery(delivery_id)
    one = log.delivery
    if as_json:
        tries = [try_.as_dict() for try_ in log.tries]
        output.document({**one.as_dict(), "payload": log.payload, "tries_made": tries})
        return
    to = "a link of the run" if one.endpoint is None else f"endpoint {one.endpoint}"
    output.say(f"Delivery {one.id} of {one.event} to {to} is {one.status}.")
    waits = "" if one.ended_at else words.moment(one.not_before)
    output.fields({"run": str(one.run), "webhook-id": one.message_id, "next try": waits})
    output.say(log.payload)
    if log.tries:
        output.table(
            ("at", "ms", "answer", "what it said"),
            [
                (words.moment(try_.at), try_.milliseconds, try_.code, try_.error or try_.answer)
                for try_ in log.tries
            ],
        )


def _webhooks(application: Application) -> Webhooks:
    return application.ledger.webhooks


def _show_secret(registered: Registered, *, as_json: bool) -> None:
    if as_json:
        output.document({**registered.endpoint.as_dict(), "secret": registered.secret})
        return
    output.say(f"Its secret is {registered.secret}")
    output.warn("Keep it: it is not shown again.")


def _state(endpoint: Endpoint) -> str:
    if not endpoint.enabled:
        return "off"
    return "failing" if endpoint.failures else "on"


def _failing(endpoint: Endpoint) -> str:
    if endpoint.failing_since is None:
        return ""
    return f"{endpoint.failures} failed since {words.moment(endpoint.failing_since)}"


def _said(answer: Answer) -> str:
    if answer.code is None:
        return f"It was not reached: {answer.error}"
    return f"It answered {answer.code}" + (f": {answer.error}" if answer.error else "")
