"""Whether another node raises the throughput, or the database is the limit."""

from __future__ import annotations

import math
from dataclasses import replace

from breakbulk.domain.scaling import Ceiling, History, Limits, Look, Sample, Step

#: The rate is that of the last ten seconds: what was done before is out of it after that long.
SETTLE_SECONDS = 12.0
#: What is compared is the mean of so many seconds.
_MEAN_SECONDS = 10.0
#: Of what more lanes should bring, so much at least has to come; else they bring nothing.
_WORTH = 0.25
#: Fewer lanes than that more tell nothing.
_MORE_LANES = 1.2
_FEWEST = 3
#: A node that has not come after so many times what it takes will not be waited for.
_TIMES_TO_START = 4.0


def judge(history: History, look: Look, limits: Limits, nodes: int) -> History:
    """Take note of a look, and say what the last step up has brought, once that can be said.

    Args:
        nodes: that were wanted until now.
    """
    if history.ceiling is not None and look.jobs != history.ceiling.jobs:
        history = replace(history, ceiling=None)
    sample = Sample(look.at, min(nodes, look.ready), look.lanes, look.rate, look.jobs)
    recent = [one for one in history.samples if look.at - one.at <= 2 * SETTLE_SECONDS]
    # Whoever looks once a minute compares looks that are minutes apart.
    kept = recent if len(recent) >= _FEWEST else history.samples[-_FEWEST:]
    history = replace(history, samples=(*kept, sample))
    step = history.step
    if step is None:
        return history
    if look.lost:
        # What is done while one that has died is replaced says nothing of what it brings.
        step = replace(step, at=look.at + 2 * SETTLE_SECONDS)
        history = replace(history, step=step)
    if step.jobs != look.jobs or not step.rate:
        # There is nothing to compare with; so it only has to have come.
        return _over(history) if look.ready >= nodes else _unless_too_long(history, look, limits)
    settled = [one for one in history.samples if one.at > step.at and one.nodes >= nodes]
    if look.ready < nodes or not settled or look.at - settled[0].at < SETTLE_SECONDS:
        return _unless_too_long(history, look, limits)
    lanes, rate = _means(settled, look)
    more = lanes / max(step.lanes, 1.0)
    if more >= _MORE_LANES and rate / step.rate - 1 < _WORTH * (more - 1):
        why = (
            "another node no longer raises the throughput, so the database is the limit:"
            f" {nodes} did {rate:,.0f} rows/s, {step.nodes} did {step.rate:,.0f}"
        )
        history = replace(history, ceiling=Ceiling(nodes, look.jobs, why))
    return _over(history)


def begin(history: History, look: Look, nodes: int) -> History:
    """Take note of a step up from so many nodes."""
    settled = [
        one for one in history.samples if one.nodes == nodes and one.lanes and one.jobs == look.jobs
    ]
    known = settled and settled[-1].at - settled[0].at >= SETTLE_SECONDS
    lanes, rate = _means(settled, look) if known else (0.0, 0.0)
    return replace(history, step=Step(look.at, nodes, lanes, rate, look.jobs))


def _means(samples: list[Sample], look: Look) -> tuple[float, float]:
    """Lanes and rate of the last seconds."""
    last = [one for one in samples if look.at - one.at <= _MEAN_SECONDS] or samples[-1:]
    return (
        math.fsum(one.lanes for one in last) / len(last),
        math.fsum(one.rate for one in last) / len(last),
    )


def _unless_too_long(history: History, look: Look, limits: Limits) -> History:
    assert history.step is not None
    patience = _TIMES_TO_START * limits.start_seconds + 2 * SETTLE_SECONDS
    return _over(history) if look.at - history.step.at > patience else history


def _over(history: History) -> History:
    return replace(history, step=None)
