"""What somebody who scales workers sees, remembers and decides: values only.

:mod:`breakbulk.domain.decide` says what follows from what.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from breakbulk.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Within what a group of workers may be scaled.

    Attributes:
        minimum: nodes that are there even when there is no work.
        maximum: nodes at most.
        slots: of one node: how many lanes it can have at once.
        target_seconds: work without a deadline should be done within so many seconds.
        out_cooldown: seconds from one step up to the next.
        in_cooldown: seconds for which fewer nodes must have been enough before any is taken away,
            and after any change.
        start_seconds: how long a node takes from being asked for until it works.

    Raises:
        ConfigurationError: they contradict each other.
    """

    minimum: int = 1
    maximum: int = 4
    slots: int = 1
    target_seconds: float = 300.0
    out_cooldown: float = 30.0
    in_cooldown: float = 300.0
    start_seconds: float = 15.0

    def __post_init__(self) -> None:
        if not 0 <= self.minimum <= self.maximum or self.maximum < 1:
            raise ConfigurationError(
                f"A minimum of {self.minimum} and a maximum of {self.maximum} nodes do not go"
                " together: 0 <= minimum <= maximum, and at least 1 at most."
            )
        if self.slots < 1:
            raise ConfigurationError("A node has at least 1 slot.")
        if self.target_seconds <= 0:
            raise ConfigurationError("The target must be more than 0 seconds.")
        if min(self.out_cooldown, self.in_cooldown, self.start_seconds) < 0:
            raise ConfigurationError("Cooldowns and the time to start are 0 seconds or more.")


@dataclass(frozen=True, slots=True)
class Work:
    """One run as whoever scales sees it.

    Attributes:
        run: its number.
        seconds: of work for one slot.
        usable: slots that it can keep busy at once.
        left: seconds until its deadline, below 0 afterwards; None without one.
        paced: whether it is known what a chunk takes.
    """

    run: int
    seconds: float
    usable: int
    left: float | None = None
    paced: bool = True


@dataclass(frozen=True, slots=True)
class Look:
    """All that is seen at one time.

    Attributes:
        at: in seconds, by the database's clock.
        nodes: that are there, those that are still starting included.
        ready: that work, or could.
        lanes: at work.
        rate: rows a second, over the last seconds.
        jobs: whose runs there are, in one word: rates of other jobs are not to be compared.
        work: of each run that has any.
        lost: nodes that are gone since the last look though nobody has taken them away.
    """

    at: float
    nodes: int
    ready: int
    lanes: int
    rate: float
    jobs: str
    work: tuple[Work, ...] = ()
    lost: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """A step up, and what was done before it.

    Attributes:
        at: when.
        nodes: before.
        lanes: at work before, on average.
        rate: rows a second before, on average; 0 when that is not known.
        jobs: whose.
    """

    at: float
    nodes: int
    lanes: float
    rate: float
    jobs: str


@dataclass(frozen=True, slots=True)
class Sample:
    """What was done at one look, for comparison."""

    at: float
    nodes: int
    lanes: int
    rate: float
    jobs: str


@dataclass(frozen=True, slots=True)
class Ceiling:
    """Nodes beyond which there is no more throughput, for some jobs, and how that was seen."""

    nodes: int
    jobs: str
    why: str


@dataclass(frozen=True, slots=True)
class History:
    """What is remembered from look to look; as JSON, it is kept in the ledger.

    Attributes:
        nodes: that were wanted last; None before the first decision.
        out_at: when the last step up was made.
        in_at: when nodes were taken away last.
        since: since when somebody has looked without a long gap.
        seen_at: when somebody looked last.
        wants: when how many nodes would have been enough, as far back as the cooldown goes; those
            that were outdone by later ones are left out.
        samples: of the throughput, over the last seconds.
        step: the step up that is still to be judged.
        ceiling: what was learnt from one.
        losses: when nodes died, over the last minutes.
        late: runs that cannot meet their deadline, as was said already.
    """

    nodes: int | None = None
    out_at: float | None = None
    in_at: float | None = None
    since: float | None = None
    seen_at: float | None = None
    wants: tuple[tuple[float, int], ...] = ()
    samples: tuple[Sample, ...] = ()
    step: Step | None = None
    ceiling: Ceiling | None = None
    losses: tuple[float, ...] = ()
    late: tuple[int, ...] = ()

    def earlier(self, seconds: float) -> History:
        """The same, as if all had been that much earlier."""

        def moved(at: float | None) -> float | None:
            return None if at is None else at - seconds

        step = self.step
        return replace(
            self,
            out_at=moved(self.out_at),
            in_at=moved(self.in_at),
            since=moved(self.since),
            seen_at=moved(self.seen_at),
            wants=tuple((at - seconds, nodes) for at, nodes in self.wants),
            samples=tuple(replace(one, at=one.at - seconds) for one in self.samples),
            step=None if step is None else replace(step, at=step.at - seconds),
            losses=tuple(at - seconds for at in self.losses),
        )

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, kept: dict[str, Any]) -> History:
        """The other way round."""
        step, ceiling = kept.get("step"), kept.get("ceiling")
        return cls(
            nodes=kept.get("nodes"),
            out_at=kept.get("out_at"),
            in_at=kept.get("in_at"),
            since=kept.get("since"),
            seen_at=kept.get("seen_at"),
            wants=tuple((at, nodes) for at, nodes in kept.get("wants", ())),
            samples=tuple(Sample(**one) for one in kept.get("samples", ())),
            step=None if step is None else Step(**step),
            ceiling=None if ceiling is None else Ceiling(**ceiling),
            losses=tuple(kept.get("losses", ())),
            late=tuple(kept.get("late", ())),
        )


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done, and why.

    Attributes:
        nodes: how many there should be now.
        before: how many there should have been until now.
        reason: in one sentence.
        starts: whether nodes may be started now; not while those that are started keep dying.
        late: what is to be said of runs that cannot meet their deadline: number and sentence.
    """

    nodes: int
    before: int
    reason: str
    starts: bool = True
    late: tuple[tuple[int, str], ...] = ()

    @property
    def verb(self) -> str:
        """What it is called in a run's activity."""
        if self.nodes == self.before:
            return "kept"
        return "scaled out" if self.nodes > self.before else "scaled in"
