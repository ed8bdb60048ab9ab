"""Findings about Celery's settings."""

from __future__ import annotations

import json
from typing import Any

import pytest

from breakbulk.domain.finding import Severity
from breakbulk.runner.celery_settings import check_settings, told
from breakbulk.settings import Settings

_CANCEL = "worker_cancel_long_running_tasks_on_connection_loss"
_GOOD: dict[str, Any] = {
    "broker_url": "redis://localhost",
    "worker_prefetch_multiplier": 1,
    "worker_disable_prefetch": True,
    "broker_channel_error_retry": True,
    "task_acks_late": True,
    "worker_cancel_long_running_tasks_on_connection_loss": True,
}


def _found(**changes: Any) -> list[tuple[str, str]]:
    findings = check_settings({**_GOOD, **changes}, Settings(slice_seconds=5))
    return [
        (str(finding.severity), finding.what)
        for finding in findings
        if finding.severity is not Severity.OK
    ]


def test_recommended_settings_leave_nothing_to_say() -> None:
    assert _found() == []


def test_what_is_as_recommended_is_told_with_its_reason() -> None:
    findings = list(check_settings(_GOOD, Settings()))
    assert [finding.what.partition(" ")[0] for finding in findings] == [
        *(name for name in _GOOD if name not in ("broker_url", _CANCEL)),
        "task_reject_on_worker_lost",
        _CANCEL,
    ]
    assert findings[0].what == (
        "worker_prefetch_multiplier is 1, as recommended; if it were not: a lane that one worker"
        " has fetched ahead waits while another worker's slot is idle."
    )


def test_what_a_worker_tells_has_no_password_and_gives_the_same_findings() -> None:
    conf = {
        **_GOOD,
        "broker_url": "redis://:secret@broker/3",
        "broker_transport_options": {"visibility_timeout": 2, "master_name": "hidden"},
        "accept_content": {"pickle"},
    }
    said = told(conf, worker_prefetch_multiplier=4)
    assert "secret" not in json.dumps(said)
    assert "hidden" not in json.dumps(said)
    ours = Settings(slice_seconds=5)
    assert list(check_settings(json.loads(json.dumps(said)), ours)) == list(
        check_settings({**conf, "worker_prefetch_multiplier": 4}, ours)
    )


@pytest.mark.parametrize(
    ("changes", "severity", "words"),
    [
        ({"accept_content": ["pickle"]}, "error", "workers refuse our messages"),
        ({"worker_pool": "gevent"}, "error", "worker_pool is 'gevent'"),
        ({"task_always_eager": True}, "warning", "task_always_eager is on"),
        ({"task_time_limit": 4}, "warning", "a lane hands on after 2 s instead of 5 s"),
        ({"task_soft_time_limit": 9.5}, "warning", "Tasks are ended after 9.5 s"),
        ({"broker_transport_options": {"visibility_timeout": 5}}, "warning", "visibility_timeout"),
        ({"task_time_limit": 3600}, "warning", "not longer than a task may take (3600 s)"),
        ({"worker_prefetch_multiplier": 4}, "note", "worker_prefetch_multiplier is 4"),
        ({"worker_disable_prefetch": False}, "note", "worker_disable_prefetch is False"),
        ({"task_acks_late": False}, "note", "task_acks_late is False"),
        ({"task_reject_on_worker_lost": True}, "note", "comes back for ever"),
        ({"broker_channel_error_retry": None}, "note", "broker_channel_error_retry is None"),
        (
            {"worker_cancel_long_running_tasks_on_connection_loss": False},
            "note",
            "two copies of a task",
        ),
    ],
)
def test_each_setting(changes: dict[str, Any], severity: str, words: str) -> None:
    ((found, what),) = _found(**changes)
    assert found == severity
    assert words in what


def test_settings_of_redis_do_not_matter_elsewhere() -> None:
    broker = "pyamqp://localhost"
    assert _found(broker_url=broker, worker_disable_prefetch=False, task_time_limit=3600) == []


def test_sqs_hides_a_message_for_half_an_hour_unless_told_otherwise() -> None:
    broker = "sqs://"
    assert _found(broker_url=broker, task_time_limit=1799) == []
    ((severity, what),) = _found(broker_url=broker, task_time_limit=1800)
    assert severity == "warning"
    assert "visibility_timeout is 1800 s" in what


def test_each_finding_says_what_to_do() -> None:
    for finding in check_settings({"worker_pool": "eventlet"}, Settings()):
        assert finding.remedy or finding.severity is Severity.OK
        assert finding.severity in set(Severity)
