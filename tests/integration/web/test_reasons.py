"""Why something was done to a run: typed beside the button, and on record for the next operator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from breakbulk import RunStatus
from tests.integration.runner.test_rescue import held
from tests.integration.web.conftest import one
from tests.integration.web.test_security import ready_for
from tests.support.yard import failing

if TYPE_CHECKING:
    from webtest import Form, TestApp, TestResponse

    from breakbulk import RunHandle
    from tests.support.yard import Yard


def form_of(page: TestResponse, verb: str) -> Form:
    """The form behind what has to be opened before it can be pressed."""
    assert one(page, f"details#{verb} summary").text
    (form,) = [
        form
        for form in page.forms.values()
        if form.action.endswith(f"/{verb}") and "reason" in form.fields
    ]
    return form


def say_why(app: TestApp, handle: RunHandle, verb: str, reason: str) -> TestResponse:
    """Press one of the plain buttons among those that come with a reason."""
    page = app.get(f"/runs/{handle.id}")
    button = one(page, f'details.asked button[formaction$="/{verb}"]')
    given = {"csrf_token": app.cookies["breakbulk_csrf"] or "", "reason": reason}
    return app.post(str(button["formaction"]), given, status=303).follow()


def told(handle: RunHandle) -> dict[str, str | None]:
    """What the activity says of each verb of ana's."""
    return {did.verb: did.detail for did in handle.activity() if did.actor == "ana"}


def test_why_a_run_was_cancelled(yard: Yard, operator: TestApp) -> None:
    going = yard.submit(yard.job())
    form = form_of(operator.get(f"/runs/{going.id}"), "cancel")
    form["reason"] = "  the rate was wrong "
    page = form.submit().follow()
    assert going.record().reason == "the rate was wrong"
    assert told(going) == {"cancelling": "the rate was wrong"}
    assert one(page, "p.note").text == "the rate was wrong"
    assert "the rate was wrong" in one(page, "[aria-labelledby=activity] .message").text


def test_nobody_has_to_say_why(yard: Yard, operator: TestApp) -> None:
    going = yard.submit(yard.job())
    form_of(operator.get(f"/runs/{going.id}"), "cancel").submit().follow()
    assert going.record().reason == "cancelled by ana"


def test_why_the_chunks_in_hand_were_ended_as_well(yard: Yard, operator: TestApp) -> None:
    going = yard.submit(yard.job())
    held(yard, going, yard.lane(going))
    form = form_of(operator.get(f"/runs/{going.id}"), "cancel")
    form["reason"] = "not today"
    page = form.submit().follow()
    assert going.status() is RunStatus.CANCELLING
    form = form_of(page, "force")
    form["reason"] = "it hangs"
    page = form.submit().follow()
    assert told(going) == {"cancelling": "not today", "forced": "it hangs"}
    assert going.record().reason == "it hangs"


def test_why_a_policy_has_stopped_a_run_stays_its_reason(yard: Yard) -> None:
    handle = yard.submit(yard.job(failing(9, number=1), max_retries=0, on_failure="stop"))
    yard.lane(handle, 1)
    yard.crew(slots=2).work()
    assert handle.status() is RunStatus.CANCELLING
    why = handle.record().reason
    handle.cancel(force=True, by="ana", reason="it hangs")
    assert handle.record().reason == why
    assert told(handle)["forced"] == "it hangs"


def test_why_a_run_was_paused_and_went_on(yard: Yard, operator: TestApp) -> None:
    going = yard.submit(yard.job())
    page = say_why(operator, going, "pause", "the shop is open")
    assert going.status() is RunStatus.PAUSED
    assert going.record().reason == "the shop is open", "as long as it stands"
    assert one(page, "p.note").text == "the shop is open"
    say_why(operator, going, "resume", "it is night")
    assert (going.status(), going.record().reason) == (RunStatus.RUNNING, None)
    assert told(going) == {"pausing": "the shop is open", "resumed": "it is night"}


def test_a_pause_keeps_its_reason_until_the_last_lane_has_gone(yard: Yard) -> None:
    going = yard.submit(yard.job())
    lane = yard.lane(going)
    assert going.pause(reason="the shop is open") is RunStatus.PAUSING
    with yard.transaction() as connection:
        yard.ledger.lanes.leave(connection, lane.token)
    yard.first_crew.tick()
    assert (going.status(), going.record().reason) == (RunStatus.PAUSED, "the shop is open")


def test_why_what_failed_was_tried_again(yard: Yard, operator: TestApp) -> None:
    handle = ready_for(yard, "retry")
    assert handle.status() is RunStatus.PARTIAL
    say_why(operator, handle, "retry", "the service is back")
    assert (handle.record().round, handle.record().reason) == (2, None)
    assert told(handle) == {"retried": "the service is back"}


def test_why_a_run_was_called_back_again(yard: Yard, operator: TestApp) -> None:
    handle = ready_for(yard, "finish")
    assert handle.record().callback_failed
    say_why(operator, handle, "finish", "mail works")
    assert told(handle) == {"finishing": "mail works"}


def test_a_reason_is_text_that_can_be_kept(yard: Yard, operator: TestApp) -> None:
    going = yard.submit(yard.job())
    say_why(operator, going, "pause", "\x00<b>" + "x" * 600)
    reason = going.record().reason
    assert reason is not None
    assert reason.startswith("\\x00<b>x")
    assert len(reason) < 510
    assert "<b>x" not in operator.get(f"/runs/{going.id}")
