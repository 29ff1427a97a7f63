"""A search replayed from recorded curves in virtual time, with the engine's own pruner deciding.

Workers take recipes one after the other; each epoch takes the seconds that it took when it was recorded. Only the
points at which something is decided are events: the rungs of the first split and the end of every split.
"""

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from curves import Curves

from search.pruning import Policy, Pruner

NEAR = 0.01  # of accuracy: one point
Point = tuple[int, int]  # split (1..) and epoch (1..)


@dataclass(frozen=True)
class Replay:
    """How one search ended."""

    cost: float  # epochs trained, as a share of those of the full search
    regret: float  # points of validation accuracy between the best recipe and the one that the search found
    reached: float | None  # cost when a complete trial was first within one point of the best; None: never

    @property
    def near(self) -> bool:
        """Whether it ended within one point of the best."""
        return self.reached is not None


class Judge(Protocol):
    """Decides who goes on."""

    points: tuple[Point, ...]  # where a trial is judged; its end is the last

    def stops(self, recipe: int, point: Point) -> bool:
        """Whether a recipe ends at this point; not asked at the last one."""
        ...


class Engine:
    """The engine's pruner, fed as the conductor feeds it.

    first: whether the race acts at the end of the first split too, as it does in the engine.
    """

    def __init__(self, curves: Curves, policy: Policy, *, first: bool = True) -> None:
        _, splits, epochs = curves.shape
        self._curves, self._epochs, self._first = curves, epochs, first
        self._pruner = Pruner(policy, splits, epochs)
        self.points = points(self._pruner.rungs, splits, epochs)

    def stops(self, recipe: int, point: Point) -> bool:
        """The answer of the pruner."""
        split, epoch = point
        reason = None
        if split == 1 and epoch in self._pruner.rungs:
            reason = self._pruner.halve(recipe, epoch, float(self._curves.smoothed_RE[recipe, epoch - 1]))
        if (
            reason is None
            and epoch == self._epochs
            and self._pruner.races_at(split)
            and (self._first or split > 1)
        ):
            reason = self._pruner.race(recipe, split, self._curves.right_RSN[recipe, :split].ravel())
        return reason is not None


class Oracle:
    """Knows how good a recipe will be in the end, once it has come to its first rung; nothing of later ones.

    It stops whatever is not better than all others seen so far. Whoever decides at the same points and wants to be
    sure to end with the best of what was seen cannot stop more.
    """

    def __init__(self, curves: Curves, policy: Policy) -> None:
        _, splits, epochs = curves.shape
        self._objective_R = curves.objective_R
        self._best = -1.0
        self.points = points(Pruner(policy, splits, epochs).rungs, splits, epochs)

    def stops(self, recipe: int, point: Point) -> bool:
        """Whether another one is better, or as good and was there before."""
        own = float(self._objective_R[recipe])
        if point == self.points[0] and own <= self._best:
            return True
        self._best = max(self._best, own)
        return own < self._best


class Order(Protocol):
    """Where the next recipe comes from."""

    def next(self) -> int | None:
        """A recipe that was not tried yet; None when all were."""
        ...

    def tell(self, recipe: int, objective: float | None, scores: dict[int, float]) -> None:
        """How a trial ended: its objective, None if it was stopped or waits, and its score by epochs trained."""
        ...


def points(rungs: Sequence[int], splits: int, epochs: int) -> tuple[Point, ...]:
    """Where trials are judged, in order.

    >>> points((8, 24), 3, 24)
    ((1, 8), (1, 24), (2, 24), (3, 24))
    """
    return tuple(sorted({(1, rung) for rung in rungs} | {(split, epochs) for split in range(1, splits + 1)}))


class _Search:
    """A search in virtual time. See `replay`."""

    def __init__(self, curves: Curves, judge: Judge, order: Order, queue: int) -> None:
        self._curves, self._judge, self._order, self._queue = curves, judge, order, queue
        recipes, splits, epochs = curves.shape
        self._epochs, self._full = epochs, recipes * splits * epochs
        self._spent = 0  # epochs of trials that nobody works on
        self._began: dict[int, float] = {}  # running recipe -> when, as if it had run without a break
        self._held: list[tuple[float, int]] = []  # those that wait: accuracy, recipe
        self._scores: dict[int, dict[int, float]] = {}
        self._events: list[tuple[float, int, int, int]] = []  # when, tie-break, recipe, number of the point
        self._made = 0
        self._best, self._found = float(curves.objective_R.max()), -math.inf
        self._reached: float | None = None

    def run(self, workers: int) -> Replay:
        """From the first trial to the last."""
        for _ in range(workers):
            self._begin(0.0)
        while self._events:
            now, _, recipe, place = heapq.heappop(self._events)
            self._arrive(now, recipe, place)
        return Replay(self._spent / self._full, 100 * (self._best - self._found), self._reached)

    def _begin(self, now: float) -> None:
        """A worker is free: a new recipe, or the best of the queue that still stands the test."""
        if len(self._held) < self._queue or not self._queue:
            if (recipe := self._order.next()) is not None:
                self._began[recipe], self._scores[recipe] = now, {}
                self._push(recipe, 0)
                return
        whole = (1, self._epochs)
        while self._held:
            score, recipe = max(self._held)
            self._held.remove((score, recipe))
            if self._judge.stops(recipe, whole):
                continue
            self._spent -= self._epochs
            self._began[recipe] = now - float(self._curves.seconds_RS[recipe, 0])
            self._push(recipe, self._judge.points.index(whole) + 1)
            return
        if self._queue and (recipe := self._order.next()) is not None:
            self._began[recipe], self._scores[recipe] = now, {}
            self._push(recipe, 0)

    def _push(self, recipe: int, place: int) -> None:
        """The trial goes on to its next point."""
        split, epoch = self._judge.points[place]
        seconds_S = self._curves.seconds_RS[recipe]
        when = self._began[recipe] + float(
            seconds_S[: split - 1].sum() + seconds_S[split - 1] * epoch / self._epochs
        )
        self._made += 1
        heapq.heappush(self._events, (when, self._made, recipe, place))

    def _arrive(self, now: float, recipe: int, place: int) -> None:
        """A trial has come to one of its points."""
        split, epoch = self._judge.points[place]
        step = (split - 1) * self._epochs + epoch
        self._scores[recipe][step] = _score(self._curves, recipe, split, epoch)
        complete = place == len(self._judge.points) - 1
        stopped = not complete and self._judge.stops(recipe, (split, epoch))
        held = self._queue > 0 and (split, epoch) == (1, self._epochs) and not (complete or stopped)
        if held:
            self._held.append((float(self._curves.right_RSN[recipe, 0].mean()), recipe))
        if not (complete or stopped or held):
            self._push(recipe, place + 1)
            return
        objective = float(self._curves.objective_R[recipe]) if complete else None
        if objective is not None:
            self._found = max(self._found, objective)
            if self._reached is None and self._best - self._found <= NEAR + 1e-9:
                self._reached = self._trained(now)
        self._spent += step
        del self._began[recipe]
        self._order.tell(recipe, objective, self._scores[recipe])
        self._begin(now)

    def _trained(self, now: float) -> float:
        """Epochs trained until now, those of running trials included, as a share of the full search."""
        running = 0
        for recipe, began in self._began.items():
            ends = np.cumsum(np.repeat(self._curves.seconds_RS[recipe] / self._epochs, self._epochs))
            running += int(np.searchsorted(ends, now - began + 1e-9, side="right"))
        return (self._spent + running) / self._full


def replay(curves: Curves, judge: Judge, order: Order, workers: int, *, queue: int = 0) -> Replay:
    """One search over all recipes, by `workers` at a time.

    queue: trials that are held back at the end of their first split before the best of them goes on, each judged once
    more before it does; 0: nobody waits.
    """
    return _Search(curves, judge, order, queue).run(workers)


def _score(curves: Curves, recipe: int, split: int, epoch: int) -> float:
    """What the conductor writes down at a point: smoothed in the first split, then the mean of the whole splits."""
    if split == 1:
        return float(curves.smoothed_RE[recipe, epoch - 1])
    return float(curves.right_RSN[recipe, :split].mean())
