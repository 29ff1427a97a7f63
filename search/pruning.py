"""Stop hopeless trials early, in two stages: halving inside the first split, then a race over the splits.

A trial is compared only with what other trials had at the same point of the same splits. Inside the first split
asynchronous successive halving stops what is far behind (Li et al. 2020, "A System for Massively Parallel
Hyperparameter Tuning"). At the end of a split the race drops a trial whose clips, paired with those of the best
trial on the same splits, say that it is behind (McNemar's test; racing after Maron and Moore 1997, "The Racing
Algorithm"). The race is the cheaper the earlier the best lead it: what is still in after the first split waits in a
queue, from which the best goes on first. `benchmarks/pruning.py` measures on recorded curves what all that saves and
what it costs.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from escmodels.evidence import mcnemar

PRUNERS = ("both", "asha", "race", "none")
SMOOTHED = 3  # epochs that a rung is averaged over, where the weights themselves are no average
CAUTION = 1 / 3  # share of the level after the first split: there the best is often the luckiest of many
EARLIEST = 1 / 6  # of the first split: before, annealed schedules look bad and the winner is lost


@dataclass(frozen=True)
class Policy:
    """How trials are stopped early."""

    pruner: str = "both"  # asha: halving inside the first split; race: over the splits; both; or none
    eta: float = 2.0  # at a rung the best 1/eta go on
    rungs: tuple[float, ...] = (1 / 3, 2 / 3, 1.0)  # where in the first split, as shares of its epochs
    competitors: int = 4  # trials at a rung before anyone is stopped there
    level: float = (
        0.3  # of McNemar's test: p below which a trial is behind; a third of it after the first split
    )
    queue: int = 8  # trials held back at the end of the first split before the best goes on; 0: nobody waits

    def __post_init__(self) -> None:
        if self.pruner not in PRUNERS:
            raise ValueError(f"unknown pruner {self.pruner!r}, known: {', '.join(PRUNERS)}")
        if not 1 < self.eta <= 16:
            raise ValueError(f"eta must be above 1 and at most 16, got {self.eta:g}")
        if not self.rungs or any(not EARLIEST <= rung <= 1 for rung in self.rungs):
            shown = ", ".join(f"{rung:g}" for rung in self.rungs)
            raise ValueError(
                f"rungs must lie between 1/6 and 1 of the first split, got {shown or 'none'}: earlier ones lose the "
                "winner, because annealed schedules look bad early"
            )
        if self.competitors < 2:
            raise ValueError(f"competitors must be at least 2, got {self.competitors}")
        if not 0 < self.level < 1:
            raise ValueError(f"level must lie between 0 and 1, got {self.level:g}")
        if self.queue < 0:
            raise ValueError(f"queue must be 0 or a number of trials, got {self.queue}")

    @property
    def halves(self) -> bool:
        """Whether the first split is halved."""
        return self.pruner in ("asha", "both")

    @property
    def races(self) -> bool:
        """Whether there is a race over the splits."""
        return self.pruner in ("race", "both")


def smoothed(curve: Sequence[float], *, averaged: bool) -> float:
    """What a trial is worth inside a split, from its validation accuracies by epoch so far.

    Single epochs swing: the last three are averaged, unless the weights are an average themselves (`averaged`).
    """
    latest = curve[-1:] if averaged else curve[-SMOOTHED:]
    return math.fsum(latest) / len(latest)


@dataclass(frozen=True)
class _Entry:
    score: float  # at a rung: the smoothed accuracy; in the race: number of right clips
    costs: tuple[float, ...]
    right: bytes = b""  # race: one bit a clip


@dataclass
class Pruner:
    """Decides who goes on. Knows points, not trials' values: feed it in the order in which news comes in, and
    after a restart with the whole history once more, by `reached` and `ended`, which judge nobody.

    splits: number of splits of a trial; epochs: length of each. `costs` of a trial, where given, restrict its
    competitors to those that cost no more in any of them: what is cheaper than all others is not judged by them.
    """

    policy: Policy
    splits: int
    epochs: int
    _rungs: dict[int, dict[int, _Entry]] = field(default_factory=dict)  # epoch -> trial -> entry
    _race: dict[int, dict[int, _Entry]] = field(default_factory=dict)  # position -> trial -> entry

    @property
    def rungs(self) -> tuple[int, ...]:
        """The epochs of the first split at which trials are compared."""
        if not self.policy.halves:
            return ()
        points = {max(1, math.ceil(self.epochs * share - 1e-9)) for share in self.policy.rungs}
        whole = {self.epochs} if self.splits == 1 else set()  # the end of a trial stops nobody
        return tuple(sorted(points - whole))

    @property
    def queues(self) -> bool:
        """Whether trials are held back at the end of the first split: who leads the race then stops others there."""
        return self.policy.races and self.policy.queue > 0 and self.splits > 1

    def races_at(self, position: int) -> bool:
        """Whether the end of the `position`-th split (1..) is a point of the race."""
        return self.policy.races and 1 <= position < self.splits

    def reached(self, trial: int, epoch: int, score: float, costs: tuple[float, ...] = ()) -> None:
        """A trial has reached a rung of the first split with this score."""
        self._rungs.setdefault(epoch, {})[trial] = _Entry(score, costs)

    def ended(self, trial: int, position: int, right: np.ndarray, costs: tuple[float, ...] = ()) -> None:
        """A trial has ended its `position`-th split, see `race`."""
        entry = _Entry(int(right.sum()), costs, np.packbits(right).tobytes())
        self._race.setdefault(position, {})[trial] = entry

    def forget(self, trial: int) -> None:
        """A trial can win no more, or begins anew: nobody is compared with what it had."""
        for entries in (*self._rungs.values(), *self._race.values()):
            entries.pop(trial, None)

    def halve(self, trial: int, epoch: int, score: float, costs: tuple[float, ...] = ()) -> str | None:
        """A trial has reached a rung of the first split with this score: None, or why it is stopped."""
        self.reached(trial, epoch, score, costs)
        entries = self._rungs[epoch]
        scores = [entry.score for entry in entries.values() if _no_dearer(entry, costs)]
        if len(scores) < self.policy.competitors:
            return None
        better = sum(other > score for other in scores)
        if better < math.ceil(len(scores) / self.policy.eta):
            return None
        return f"behind at split 1, epoch {epoch}: {better + 1}. of {len(scores)}"

    def race(self, trial: int, position: int, right: np.ndarray, costs: tuple[float, ...] = ()) -> str | None:
        """A trial has ended its `position`-th split: None, or why it is dropped.

        right: bool, for each clip of its first `position` splits in order whether it was right.
        """
        self.ended(trial, position, right, costs)
        entries = self._race[position]
        best, leader = max(
            ((entry, number) for number, entry in entries.items() if _no_dearer(entry, costs)),
            key=lambda pair: (pair[0].score, -pair[1]),
        )
        if leader == trial:
            return None
        theirs = np.unpackbits(np.frombuffer(best.right, np.uint8))[: right.size].astype(bool)
        lost, won = int((theirs & ~right).sum()), int((right & ~theirs).sum())
        p = mcnemar(lost, won)
        if lost <= won or p >= (self.policy.level * CAUTION if position == 1 else self.policy.level):
            return None
        return f"{behind(leader)} {position}: {lost} clips lost, {won} won, p {p:.2g}"


def behind(leader: int) -> str:
    """How the reason of a trial begins that the race dropped because of this one."""
    return f"behind trial {leader} after split"


def _no_dearer(entry: _Entry, costs: tuple[float, ...]) -> bool:
    return all(other <= own for other, own in zip(entry.costs, costs, strict=True))
