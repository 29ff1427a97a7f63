"""Stop hopeless trials early: asynchronous successive halving on (split, epoch).

A trial is compared only with what other trials had at the same point of the same splits. Rungs lie at a
third and at the end of the first split and at the end of every further split but the last: earlier rungs
lose the winner, because annealed schedules look bad early (Li et al. 2020, "A System for Massively Parallel
Hyperparameter Tuning", for the rule; the places were measured on ESC-10 learning curves).
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

SMOOTHED = 3  # epochs that a rung inside a split is averaged over


@dataclass(frozen=True)
class Rung:
    """A point of comparison: the `position`-th split (1..) after `epoch` epochs; the best 1/`eta` go on."""

    position: int
    epoch: int
    eta: float


def rungs(splits: int, epochs: int, eta: float) -> tuple[Rung, ...]:
    """The rungs of a study with so many splits of so many epochs."""
    third = math.ceil(epochs / 3)
    inside = (Rung(1, third, eta),) if third < epochs else ()
    return inside + tuple(Rung(position, epochs, eta) for position in range(1, splits))


def rung_score(finished: Sequence[float], current: Sequence[float]) -> float:
    """What a trial is worth at a point: the mean over its splits so far.

    finished: scores of its whole splits; current: validation accuracies by epoch of the split under way (may
    be empty), of which the last three are averaged because single epochs swing.
    """
    scores = [*finished]
    if current:
        scores.append(math.fsum(current[-SMOOTHED:]) / len(current[-SMOOTHED:]))
    return math.fsum(scores) / len(scores)


@dataclass
class Halving:
    """Decides who goes on. Until `minimum` trials have reached a rung nobody is stopped there."""

    rungs: tuple[Rung, ...]
    minimum: int = 4
    _scores: dict[Rung, dict[int, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.minimum < 2 or any(rung.eta <= 1 for rung in self.rungs):
            raise ValueError(f"pruning needs eta > 1 and at least 2 competitors, got {self}")

    def rung(self, position: int, epoch: int) -> Rung | None:
        """The rung at a point, if there is one."""
        return next((rung for rung in self.rungs if (rung.position, rung.epoch) == (position, epoch)), None)

    def judge(self, trial: int, position: int, epoch: int, score: float) -> bool:
        """Note the score of a trial at a rung; True if the trial goes on."""
        rung = self.rung(position, epoch)
        if rung is None:
            return True
        scores = self._scores.setdefault(rung, {})
        scores[trial] = score
        if len(scores) < self.minimum:
            return True
        better = sum(other > score for other in scores.values())
        return better < math.ceil(len(scores) / rung.eta)

    def remember(self, history: Iterable[tuple[int, int, int, float]]) -> None:
        """(trial, position, epoch, score) of an earlier session of the study."""
        for trial, position, epoch, score in history:
            if rung := self.rung(position, epoch):
                self._scores.setdefault(rung, {})[trial] = score
