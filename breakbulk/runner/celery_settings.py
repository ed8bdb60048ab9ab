"""The team's Celery settings, looked over: what harms, what helps, each with its reason.

The settings come as plain values; Celery itself is not needed for this. Breakbulk keeps its
promises under any of them but those reported as errors: the rest costs time, or is about the
team's own tasks beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from breakbulk.domain.finding import Finding, Severity, Subject
from breakbulk.settings import Settings

_GREEN_POOLS = ("gevent", "eventlet")
#: Kombu's own, where a team has set none, by how the name of a transport begins.
_VISIBILITY = {"redis": 3600.0, "valkey": 3600.0, "sentinel": 3600.0, "sqs": 1800.0}


@dataclass(frozen=True, slots=True)
class _Advice:
    """A setting that is better at some value.

    Attributes:
        reason: what happens at another value.
        only: the transports it is about; empty: all.
        late_acks: it is about late acks.
    """

    name: str
    better: bool | int
    reason: str
    only: tuple[str, ...] = ()
    late_acks: bool = False


_ADVICE = (
    _Advice(
        "worker_prefetch_multiplier",
        1,
        "a lane that one worker has fetched ahead waits while another worker's slot is idle",
    ),
    _Advice(
        "worker_disable_prefetch",
        better=True,
        reason="on Redis a worker takes more messages than it has slots",
        only=("redis", "rediss", "sentinel", "valkey", "valkeys"),
    ),
    _Advice(
        "broker_channel_error_retry",
        better=True,
        reason="after a fail-over a worker stays with the old, now read-only server",
        only=("redis", "rediss", "sentinel", "valkey", "valkeys"),
    ),
    _Advice(
        "task_acks_late",
        better=True,
        reason="a message whose worker dies is lost with it; Breakbulk loses nothing by that, the"
        " team's own tasks may",
    ),
    _Advice(
        "task_reject_on_worker_lost",
        better=False,
        reason="a task of the team that kills its process comes back for ever",
    ),
    _Advice(
        "worker_cancel_long_running_tasks_on_connection_loss",
        better=True,
        reason="with late acks a lost broker connection lets two copies of a task of the team run"
        " side by side",
        late_acks=True,
    ),
)
#: What a worker tells of its settings, so that all that is said here can be said of it.
NAMES = (
    *(advice.name for advice in _ADVICE),
    "accept_content",
    "task_always_eager",
    "task_soft_time_limit",
    "task_time_limit",
    "worker_pool",
    "worker_soft_shutdown_timeout",
)


def told(conf: Mapping[str, Any], **in_force: Any) -> dict[str, Any]:
    """The settings that are looked at here, as JSON values, without the broker's password.

    Args:
        in_force: what the command line has changed.
    """
    values = {name: _plain(_get(conf, name)) for name in NAMES}
    transport, colon, _ = str(_get(conf, "broker_url") or "").partition("://")
    timeout = (_get(conf, "broker_transport_options") or {}).get("visibility_timeout")
    options = {} if timeout is None else {"visibility_timeout": timeout}
    return {
        **values,
        "broker_url": f"{transport}{colon}",
        "broker_transport_options": options,
        **in_force,
    }


def _plain(value: Any) -> Any:
    if isinstance(value, (set, frozenset, list, tuple)):
        return sorted(str(one) for one in value)
    return value if value is None or isinstance(value, (bool, int, float)) else str(value)


def check_settings(conf: Mapping[str, Any], ours: Settings) -> Iterator[Finding]:
    """Findings about Celery's settings, by their new lower-case names."""
    yield from _harmful(conf)
    yield from _limits(conf, ours)
    transport = str(_get(conf, "broker_url") or "").partition(":")[0].partition("+")[0]
    for advice in _ADVICE:
        value = _get(conf, advice.name)
        if advice.only and transport not in advice.only:
            continue
        if advice.late_acks and not _get(conf, "task_acks_late"):
            continue
        if (value or 0) == advice.better:
            yield _finding(
                Severity.OK,
                f"{advice.name} is {value!r}, as recommended; if it were not: {advice.reason}.",
            )
        else:
            yield _finding(
                Severity.NOTE,
                f"{advice.name} is {value!r}: {advice.reason}.",
                f"{advice.name} = {advice.better!r}",
            )


def _harmful(conf: Mapping[str, Any]) -> Iterable[Finding]:
    accepted = {str(kind) for kind in _get(conf, "accept_content") or ("json",)}
    if not accepted & {"json", "application/json"}:
        yield _finding(
            Severity.ERROR,
            f"accept_content is {sorted(accepted)}, so workers refuse our messages, which are"
            " JSON.",
            "Add 'json' to accept_content.",
        )
    pool = str(_get(conf, "worker_pool") or "prefork")
    if any(green in pool for green in _GREEN_POOLS):
        yield _finding(
            Severity.ERROR,
            f"worker_pool is {pool!r}, where a chunk's transaction would be shared by everything"
            " that runs meanwhile; such a worker refuses to start.",
            "Start workers with -P prefork, threads or solo.",
        )
    if _get(conf, "task_always_eager"):
        yield _finding(
            Severity.WARNING,
            "task_always_eager is on: a submit works through the whole run before it returns.",
            "Use it in tests only.",
        )


def _limits(conf: Mapping[str, Any], ours: Settings) -> Iterable[Finding]:
    hard, soft = _get(conf, "task_time_limit"), _get(conf, "task_soft_time_limit")
    limits = [float(limit) for limit in (hard, soft) if limit]
    if limits and min(limits) < 2 * ours.slice_seconds:
        yield _finding(
            Severity.WARNING,
            f"Tasks are ended after {min(limits):g} s, so a lane hands on after"
            f" {min(limits) / 2:g} s instead of {ours.slice_seconds:g} s, and a chunk that takes"
            " longer than the limit is killed each time it is tried.",
            "Keep chunks well below the limit, or raise it.",
        )
    transport = str(_get(conf, "broker_url") or "")
    options = _get(conf, "broker_transport_options") or {}
    default = next((own for name, own in _VISIBILITY.items() if transport.startswith(name)), None)
    timeout = options.get("visibility_timeout", default)
    longest = max([ours.slice_seconds, *([float(hard)] if hard else [])])
    if timeout is not None and float(timeout) <= longest:
        yield _finding(
            Severity.WARNING,
            f"visibility_timeout is {float(timeout):g} s, not longer than a task may take"
            f" ({longest:g} s): the broker delivers messages of running tasks again. Breakbulk's"
            " do no harm, the team's own may.",
            f"broker_transport_options = {{'visibility_timeout': {int(longest) * 2}}} or more",
        )


def _get(conf: Mapping[str, Any], name: str) -> Any:
    return conf.get(name)


def _finding(severity: Severity, what: str, remedy: str = "") -> Finding:
    return Finding(severity, Subject.SETTINGS, what, remedy)
