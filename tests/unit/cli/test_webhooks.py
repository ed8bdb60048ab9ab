"""``breakbulk webhooks``: endpoints and deliveries, for people and for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.receiver import Receiver, Reply, receiver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from click.testing import Result

    from tests.unit.cli.conftest import Shop

_STORE = """
import shopfront
from breakbulk import Breakbulk

bulk = Breakbulk(
    {database!r}, celery=shopfront.app, jobs=shopfront.bulk.jobs,
    secret_key="k" * 32, webhook_allow="127.0.0.1",
)
"""


@pytest.fixture
def store(shop: Shop) -> Shop:
    """The shop, where this machine may be posted to."""
    shop.open(eager=True)
    shop.write("store", _STORE.format(database=shop.database))
    shop.target = "store:bulk"
    return shop


@pytest.fixture
def outside() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


def test_an_endpoint_from_its_registration_to_its_end(store: Shop, outside: Receiver) -> None:
    assert store("webhooks", "list").stdout == "No endpoint is registered.\n"
    added = store("webhooks", "add", outside.url, "--job", "reprice", "--event", "run.succeeded")
    assert added.exit_code == 0, added.output
    first, second = added.stdout.splitlines()
    assert first == "Endpoint 1 is registered."
    secret = second.removeprefix("Its secret is ")
    assert secret.startswith("whsec_")
    assert "webhooks test 1" in added.stderr

    assert store("run", "reprice", "--watch").exit_code == 0
    (message,) = outside.received
    assert message.verified(secret)["type"] == "run.succeeded"
    line = store("webhooks", "list").stdout.splitlines()[1].split()
    assert line == ["1", outside.url, "reprice", "run.succeeded", "on"]
    for name, state in (("disable", "off"), ("enable", "on")):
        assert store("webhooks", name, "1").stdout == f"Endpoint 1 is {state}.\n"
        assert store("webhooks", "list").stdout.splitlines()[1].split()[4] == state

    rotated = store.json("webhooks", "rotate", "1")
    assert rotated["secret"] != secret
    tested = store("webhooks", "test", "1")
    assert tested.exit_code == 0
    assert tested.stdout.startswith("It answered 204 (")
    # The workers may have been started with another setting.
    assert "This process sent it, on " in tested.stderr
    assert "restart them" in tested.stderr
    assert outside.received[-1].verified(secret) == outside.received[-1].verified(rotated["secret"])
    for shown in (store("webhooks", "list"), store("webhooks", "list", "--json")):
        assert "whsec_" not in shown.output
        assert rotated["secret"].removeprefix("whsec_") not in shown.output

    assert store("webhooks", "remove", "1").exit_code == 0
    assert store.json("webhooks", "list") == {"endpoints": []}


def test_deliveries(store: Shop, outside: Receiver) -> None:
    assert store("webhooks", "deliveries").stdout == "Nothing was to be delivered.\n"
    store("webhooks", "add", outside.url)
    store("run", "reprice", "--watch")
    page = store("webhooks", "deliveries", "--limit", "1")
    assert page.stdout.splitlines()[1].split()[:7] == [
        *("2", "run.succeeded", "1", "endpoint", "1", "delivered", "1")
    ]
    assert "webhooks deliveries --before 2" in page.stderr
    helped = store("webhooks", "deliveries", "--help").stdout
    assert "--before" in helped
    assert "deliveries [OPTIONS] [DELIVERY]" in helped
    found = store.json("webhooks", "deliveries", "--run", "1", "--endpoint", "1")["deliveries"]
    assert [one["event"] for one in found] == ["run.succeeded", "run.submitted"]
    one = store("webhooks", "deliveries", "2").stdout
    assert one.startswith("Delivery 2 of run.succeeded to endpoint 1 is delivered.\n")
    assert found[0]["message_id"] in one
    assert '"type": "run.succeeded"' in one
    assert "204" in one
    assert store("webhooks", "replay", "2").stdout == "It is sent again as delivery 3.\n"
    assert store.json("webhooks", "deliveries", "3")["status"] == "waiting"


def test_a_receiver_that_does_not_answer_well(store: Shop, outside: Receiver) -> None:
    store("webhooks", "add", outside.url)
    outside.reply = lambda _message: Reply(500, body=b"\x1b[31mno mail today")
    tested = store("webhooks", "test", "1")
    assert tested.exit_code == 1
    assert tested.stdout.startswith("It answered 500 (")
    assert "no mail today" in tested.stdout
    assert "\x1b" not in tested.stdout
    answer = store.json("webhooks", "test", "1")
    assert (answer["delivered"], answer["code"]) == (False, 500)
    outside.close()
    assert "It was not reached: cannot connect" in store("webhooks", "test", "1").stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("add", "http://10.0.0.1/in"), "The host 10.0.0.1 is 10.0.0.1, which is not a public"),
        (("add", "nonsense"), "Give a URL that begins with https://"),
        (("add", "https://1.1.1.1/", "--job", "nonsense"), "There is no job"),
        (("remove", "9"), "There is no endpoint 9; 'breakbulk webhooks list' lists them."),
        (("test", "9"), "There is no endpoint 9;"),
        (("replay", "9"), "There is no delivery 9; 'breakbulk webhooks deliveries' lists them."),
        (("deliveries", "9"), "There is no delivery 9;"),
    ],
)
def test_what_is_refused(
    store: Shop, refused: Callable[[Result, int], str], arguments: tuple[str, ...], sentence: str
) -> None:
    assert refused(store("webhooks", *arguments), 2).startswith(sentence)
