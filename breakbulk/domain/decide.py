"""How many nodes there should be: what follows from what was seen, without any time or I/O.

Up: as soon as the work would not be done in time, in steps that at most double the nodes, each
judged before the next. Down: only what has not been needed for a whole cooldown, so that neither a
lull nor a nervous estimate takes a node away that is wanted back at once. As long as there is work
for a node it is kept: the work costs the same node hours whether many do it or few.
"""

from __future__ import annotations

import math
from dataclasses import replace

from breakbulk.domain import throughput
from breakbulk.domain.scaling import Decision, History, Limits, Look, Work

#: What a deadline is aimed at: so much more than the work is thought to be.
_HEADROOM = 1.15
#: Nodes are taken away from a deadline only when so much more work would still be done.
_SLACK = 1.3
#: When nodes have died so often in so many seconds, others are started with patience only.
_MANY_LOSSES = 3
_LOSS_WINDOW = 600.0
_LONGEST_GAP = 60.0
_FIRST_PATIENCE, _LONGEST_PATIENCE = 10.0, 300.0


def decide(limits: Limits, history: History, look: Look) -> tuple[Decision, History]:
    """What to do now, and what to remember."""
    if history.seen_at is not None and look.at < history.seen_at:
        # The clock was set back, or another server is the database now: nothing has yet to come.
        history = history.earlier(history.seen_at - look.at)
    before = look.nodes if history.nodes is None else history.nodes
    within = min(max(before, limits.minimum), limits.maximum)
    history = throughput.judge(history, look, limits, before)
    enough = _nodes(limits, look, within, _SLACK)
    history = _remembered(limits, history, look.at, enough)
    losses = tuple(one for one in history.losses if look.at - one <= _LOSS_WINDOW)
    losses = (*losses, *[look.at] * look.lost)
    late = _late(limits, history, look)
    history = replace(
        history,
        losses=losses,
        late=tuple(work.run for work in look.work if work.run in history.late or work.run in late),
    )
    wanted = _nodes(limits, look, within, _HEADROOM)
    nodes, reason = _step(limits, history, look, within, wanted)
    if within != before and nodes == within:
        reason = f"there are to be {limits.minimum} to {limits.maximum} nodes"
    starts, patience = _patience(losses, look.at)
    if not starts:
        reason += f"; {patience}"
    if nodes > before:
        history = throughput.begin(history, look, before)
        history = replace(history, out_at=look.at)
    elif nodes < before:
        history = replace(history, in_at=look.at, step=None)
    decision = Decision(nodes, before, reason, starts, tuple(late.items()))
    return decision, replace(history, nodes=nodes)


def _remembered(limits: Limits, history: History, now: float, enough: int) -> History:
    """With the nodes that would be enough now; of older ones only those that were more."""
    gap = now - (-math.inf if history.seen_at is None else history.seen_at)
    wants, since = history.wants, history.since
    if since is None or gap > max(limits.in_cooldown, _LONGEST_GAP):
        # Nobody has looked for so long that nothing is known of what was needed meanwhile.
        wants, since = (), now
    kept = [one for one in wants if one[1] > enough and now - one[0] <= limits.in_cooldown]
    return replace(history, wants=(*kept, (now, enough)), since=since, seen_at=now)


def _step(
    limits: Limits, history: History, look: Look, within: int, wanted: int
) -> tuple[int, str]:
    """From so many nodes towards those that are wanted, as far as may be now."""
    told = _told(look)
    if wanted > within:
        return _out(limits, history, look, within, wanted)
    most = max((nodes for _, nodes in history.wants), default=within)
    if most >= within:
        return within, f"{told}: {_count(within)} will do"
    quiet = max(one for one in (history.since, history.out_at, history.in_at) if one is not None)
    waited = look.at - quiet
    if waited < limits.in_cooldown - 1e-6:
        rest = limits.in_cooldown - waited
        return within, f"{told}: {_count(most)} would do, if that is so for {rest:.0f} s more"
    return most, f"{told}: no more than {_count(most)} was needed for {limits.in_cooldown:.0f} s"


def _out(limits: Limits, history: History, look: Look, within: int, wanted: int) -> tuple[int, str]:
    told = f"{_told(look)}: it takes {_count(wanted)}"
    ceiling = history.ceiling
    if ceiling is not None and within >= ceiling.nodes:
        return within, f"{told}, but {ceiling.why}"
    if history.step is not None:
        if look.ready < within:
            return within, f"{told}; {look.ready} of {within} work yet"
        return within, f"{told}; it is still to be seen what the last ones bring"
    if history.out_at is not None and look.at - history.out_at < limits.out_cooldown:
        rest = limits.out_cooldown - (look.at - history.out_at)
        return within, f"{told}; the next step in {rest:.0f} s"
    return min(wanted, max(2 * within, 1)), told


def _nodes(limits: Limits, look: Look, within: int, margin: float) -> int:
    """Nodes that it takes, with so much of a margin."""
    there = within * limits.slots
    for_deadlines = sum(_for_deadline(work, limits, margin) for work in look.work if _timed(work))
    others = [work for work in look.work if not _timed(work)]
    usable = sum(work.usable for work in others)
    needed = math.fsum(work.seconds / limits.target_seconds for work in others if work.paced)
    # Whoever has work is kept, and somebody has to begin.
    kept = min(usable, max(there - for_deadlines, 1))
    slots = for_deadlines + max(min(needed, usable), kept)
    nodes = math.ceil(slots / limits.slots - 1e-9)
    return min(max(nodes, limits.minimum), limits.maximum)


def _timed(work: Work) -> bool:
    return work.left is not None and work.paced


def _for_deadline(work: Work, limits: Limits, margin: float) -> float:
    """Slots that a run with a deadline takes."""
    left = work.left or 0.0
    # What nodes take to start is lost at the beginning; near the end none is started any more.
    left -= min(limits.start_seconds, left / 4)
    if left <= 0:
        return work.usable
    return min(work.seconds * margin / left, work.usable)


def _late(limits: Limits, history: History, look: Look) -> dict[int, str]:
    """Runs that cannot be in time whatever is done, and were not said to be so before."""
    found = {}
    most = limits.maximum
    because = f"at most {_count(most)} may be there"
    if history.ceiling is not None and history.ceiling.nodes < most:
        most, because = max(history.ceiling.nodes, 1), history.ceiling.why
    for work in look.work:
        if work.left is None or not _timed(work) or not work.usable:
            continue
        slots = min(most * limits.slots, work.usable)
        shortest = work.seconds / slots
        if shortest > max(work.left, 0.0) and work.run not in history.late:
            found[work.run] = (
                f"it cannot be done in time: {shortest:.0f} s at the least, and"
                f" {max(work.left, 0.0):.0f} s are left; {because}"
            )
    return found


def _patience(losses: tuple[float, ...], now: float) -> tuple[bool, str]:
    """Whether nodes may be started though some keep dying."""
    if len(losses) < _MANY_LOSSES:
        return True, ""
    wait = min(_FIRST_PATIENCE * 2 ** (len(losses) - _MANY_LOSSES), _LONGEST_PATIENCE)
    rest = losses[-1] + wait - now
    if rest <= 0:
        return True, ""
    ago = now - losses[0]
    return (
        False,
        f"{len(losses)} nodes have died in {ago:.0f} s, the next one is started in {rest:.0f} s",
    )


def _told(look: Look) -> str:
    if not look.work:
        return "there is no work"
    seconds = math.fsum(work.seconds for work in look.work)
    lefts = [work.left for work in look.work if work.left is not None]
    until = f", the first deadline in {max(min(lefts), 0.0):.0f} s" if lefts else ""
    unknown = "" if any(work.paced for work in look.work) else " at a guess"
    return f"{seconds:.0f} s of work{unknown}{until}"


def _count(nodes: int) -> str:
    return f"{nodes} node{'' if nodes == 1 else 's'}"
