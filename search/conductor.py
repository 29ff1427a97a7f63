"""The conductor of a search: hands out trials, writes what comes back into the ledger, says who goes on.

It knows nothing of where trials run: `local.py` calls it in a loop, `cluster.py` through Ray Tune's searcher
and scheduler. Everything it has to remember over a crash is in the ledger, so that a conductor built on the
ledger of a killed one goes on where that stood.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import Failure
from .judge import Judge
from .ledger import ENDED, FoldRow, Ledger, TrialRow, Unwritable
from .objectives import ACCURACY, Objective, front
from .pruning import Policy
from .record import Record, mean
from .trial import Assignment, Plan, Report

if TYPE_CHECKING:
    from .suggest import Proposer  # Optuna is not needed to read this module

LOSSES = 3  # workers that may die under a trial, no fold run finished in between, before it is given up
REPEATS = 3  # known proposals in a row (the proposer avoids them itself) before the space counts as exhausted


@dataclass(frozen=True)
class Limits:
    """When a search ends, and how it prunes."""

    trials: int
    hours: float | None = None  # no new trial is begun after that
    policy: Policy = field(default_factory=Policy)

    def __post_init__(self) -> None:
        if self.trials < 1:
            raise ValueError(f"trials must be at least 1, got {self.trials}")
        if self.hours is not None and self.hours <= 0:
            raise ValueError(f"hours must be positive, got {self.hours}")


class Conductor:
    """One search session on one ledger. Not thread-safe: one thread calls it.

    labels: split -> class of each of its validation clips. listen: called with a trial whenever something about it
    was written.
    """

    def __init__(
        self,
        ledger: Ledger,
        proposer: "Proposer",
        plan: Plan,
        limits: Limits,
        *,
        labels: Mapping[int, np.ndarray],
        data: str,
        code: str,
        objectives: Sequence[Objective] = ACCURACY,
        clock: Callable[[], float] = time.monotonic,
        listen: Callable[[int], None] = lambda trial: None,
    ) -> None:
        self.ledger, self.plan, self.limits, self.objectives = ledger, plan, limits, tuple(objectives)
        self.trouble: Failure | None = None  # why the search cannot go on: it ends, and can be resumed
        self._proposer = proposer
        self._record = Record(ledger, plan, self.objectives, labels, data, code)
        self._clock, self._listen = clock, listen
        self._began = clock()
        self._heard: dict[int, float] = {}  # trial -> when something was last heard of it
        self._proposals: dict[int, int] = {}  # trial -> number of the proposal
        self._front: dict[
            int, tuple[float, ...]
        ] = {}  # trial -> worth; once one is complete, those on the front
        self._judge = Judge(ledger, plan, limits.policy, self._record)
        self._positions = {split.number: place for place, split in enumerate(plan.splits, start=1)}
        self._known = {_identity(row.values) for row in ledger.trials()}
        self._exhausted = self._stopping = False
        self._recall()

    def _recall(self) -> None:
        """Take up the history of the ledger: what pruning compares, what the sampler has seen, trials that wait."""
        points: dict[int, list[tuple[int, int, float]]] = {}
        for trial, position, epoch, score in self.ledger.rungs():
            points.setdefault(trial, []).append((position, epoch, score))
        for row in self.ledger.trials():
            if row.state == "running":  # its driver was killed
                self.ledger.suspend_trial(row.number)
            reached = points.get(row.number, [])
            if self.ledger.fold(self._record.key(row, self.plan.splits[0].number)) is not None:
                self._judge.remember(row, reached)  # else it was trained on other data or by other code
            ended = row.state in ENDED
            outcome = _outcome(row) if ended else "pruned" if row.state == "queued" else "running"
            steps = {self._record.step(position, epoch): score for position, epoch, score in reached}
            worth = self._record.worth(row)
            if row.state == "complete" and worth is not None:
                self._front[row.number] = worth
            proposal = self._proposer.replay(row.values, outcome, worth, steps)
            if not ended:
                self._proposals[row.number] = proposal

    # handing out

    def next(self) -> Assignment | None:
        """The next trial to run, or None when there is nothing more to begin."""
        try:
            return None if self.stopping else self._next()
        except Unwritable as error:
            self.trouble = error
            return None

    def _next(self) -> Assignment | None:
        if waiting := self.ledger.trials("waiting"):
            return self._again(waiting[0])
        if self._judge.has_room() and (fresh := self._fresh()) is not None:
            return fresh
        for row in self._judge.queue():
            if (reason := self._judge.behind(row, 1, self.plan.epochs)) is None:
                return self._again(row)
            self._end(row, "pruned", reason)  # others have come that it is behind of
        return self._fresh()

    def _again(self, row: TrialRow) -> Assignment:
        """A trial that has been begun before goes on."""
        self.ledger.retry_trial(row.number)
        return self._assigned(row, frozenset(fold.split for fold in self._record.finished(row)))

    @property
    def _more(self) -> bool:
        """Whether further trials may be begun."""
        left = self.ledger.count_trials() < self.limits.trials
        return left and not self.out_of_time and not self._exhausted

    def _fresh(self) -> Assignment | None:
        """A trial that was never begun, None if there is none."""
        if not self._more:
            return None
        for _ in range(REPEATS):
            proposal, values = self._proposer.ask()
            if _identity(values) not in self._known:
                break
            self._proposer.tell(proposal, "failed", None, {})  # never trained twice
        else:
            self._exhausted = True
            return None
        number = self.ledger.count_trials()
        self.ledger.open_trial(number, values)
        self._known.add(_identity(values))
        self._proposals[number] = proposal
        return self._assigned(self.ledger.trial(number), frozenset())

    def _assigned(self, row: TrialRow, finished: frozenset[int]) -> Assignment:
        self._heard[row.number] = self._clock()
        self._listen(row.number)
        return Assignment(row.number, row.trained, finished, row.costs)

    @property
    def points(self) -> frozenset[tuple[int, int]]:
        """(split, epoch) after which a trial may be told to stop."""
        every = ((split, epoch) for split in self._positions for epoch in range(1, self.plan.epochs + 1))
        return frozenset(point for point in every if self._judge.decides(self._positions[point[0]], point[1]))

    @property
    def exhausted(self) -> bool:
        """Whether the space held fewer different recipes than were asked for."""
        return self._exhausted

    @property
    def out_of_time(self) -> bool:
        """Whether the hours asked for have passed."""
        return self.limits.hours is not None and self._clock() - self._began > self.limits.hours * 3600

    def stop(self) -> None:
        """Begin nothing more, and let each running trial go at its next report; all of them can be resumed."""
        self._stopping = True

    def give_up(self, error: Failure, trial: int | None = None) -> None:
        """As `stop`, for a reason of which the session is to die.

        trial: one that could not go on for that reason; it waits for a later session, and no loss is counted.
        """
        self.trouble = self.trouble or error
        if trial is not None:
            self.put_back(trial)

    def put_back(self, trial: int) -> None:
        """A trial that was handed out and that nobody works on any more waits; no loss is counted."""
        if self.ledger.trial(trial).state != "running":
            return
        try:
            self.ledger.suspend_trial(trial)
        except Unwritable:  # it counts as running until the next session takes it up
            return
        self._listen(trial)

    @property
    def stopping(self) -> bool:
        """Whether the search is to end: asked here or, through the ledger, by another process; or it has to."""
        self._stopping = self._stopping or self.trouble is not None or bool(self.ledger.fact("stop"))
        return self._stopping

    def silent_for(self, trial: int) -> float:
        """Seconds since something was last heard of a trial of this session."""
        return self._clock() - self._heard.get(trial, self._began)

    # taking in

    def on_report(self, report: Report, more: bool = False) -> bool:
        """Write one report down, and what follows from it, in one transaction; True if the trial goes on.

        more: others of the same trial came with it. A search that is to end lets a trial go after the last of them:
        what has been trained is kept.
        """
        try:
            return self._on_report(report, more)
        except Unwritable as error:
            self.trouble = error
            return False

    def _on_report(self, report: Report, more: bool) -> bool:
        row = self.ledger.trial(report.trial)
        if row.state != "running":  # late news of a trial that has ended
            return False
        self._heard[row.number] = self._clock()
        with self.ledger.transaction():
            state = self._take(row, report)
            if state == "running" and not more and self.stopping:
                self.ledger.suspend_trial(row.number)
                state = "waiting"
        self._tell(row.number, state)
        self._listen(row.number)
        return state in ("running", "complete")  # of a complete trial the worker ends by itself

    def _tell(self, trial: int, state: str) -> None:
        """The proposer hears of a trial that has ended; one in the queue is to it a stopped one, until it ends."""
        if state not in (*ENDED, "queued"):
            return
        row = self.ledger.trial(trial)
        reached = self.ledger.rungs(trial)
        steps = {self._record.step(position, epoch): score for _, position, epoch, score in reached}
        outcome = "pruned" if state == "queued" else _outcome(row)
        self._proposer.tell(self._proposals[trial], outcome, self._record.worth(row), steps)
        if state in ENDED:
            self._heard.pop(trial, None)

    def _take(self, row: TrialRow, report: Report) -> str:
        """Write a report; the state of the trial after it."""
        if report.costs:
            self.ledger.write_costs(row.number, report.costs)
            return "running"
        if report.memory:
            return self._rescue(row, report.memory)
        if report.over:
            return self._close(row, "infeasible", None, report.over)
        if report.failed:
            return self._close(row, "failed", None, report.failed)
        key = self._record.key(row, report.split)
        where = {"trial": row.number, "split": report.split, "seed": self.plan.seed}
        self.ledger.log_epoch(key, report.epoch, report.metrics, phase="search", **where)
        if report.result:
            result = report.result
            self.ledger.finish_fold(
                key,
                score=result.score,
                loss=result.loss,
                epochs=report.epoch,
                seconds=result.seconds,
                predictions=result.predictions,
            )
        return self._verdict(row, self._positions[report.split], report.epoch, key)

    def _verdict(self, row: TrialRow, position: int, epoch: int, key: str) -> str:
        """The state of a trial after an epoch."""
        if not self._judge.is_point(position, epoch):
            return "running"
        self._judge.note(row, position, epoch, key)
        finished = self._record.finished(row)
        if len(finished) == len(self.plan.splits):
            return self._complete(row, finished)
        if (reason := self._judge.behind(row, position, epoch)) is not None:
            return self._close(row, "pruned", None, reason)
        if self._judge.holds_back(row, position, epoch, self._more):
            self.ledger.queue_trial(row.number)
            return "queued"
        return "running"

    def on_lost(self, trial: int, reason: str, memory: bool = False) -> None:
        """The worker of a trial is gone. The trial is taken up again; without progress only a few times.

        memory: for lack of memory.
        """
        try:
            row = self.ledger.trial(trial)
            if row.state != "running":
                return
            if memory:
                state = self._rescue(row, reason)
            elif row.losses + 1 < LOSSES:
                self.ledger.suspend_trial(trial, lost=True)
                state = "waiting"
            else:
                state = self._close(row, "failed", None, f"lost {LOSSES} workers, last: {reason}")
            self._tell(trial, state)
            self._listen(trial)
        except Unwritable as error:
            self.trouble = error

    def _rescue(self, row: TrialRow, reason: str) -> str:
        """Out of memory: once more with half of the batch at a time, and then never again."""
        changes = None if row.rescue else halved(row.values)
        if changes is None:
            return self._close(row, "infeasible", None, f"out of memory: {reason}")
        self._judge.forget(row)
        self.ledger.rescue_trial(row.number, changes)
        return "waiting"

    def _end(self, row: TrialRow, state: str, reason: str) -> None:
        """A trial that nobody works on has ended."""
        with self.ledger.transaction():
            self._close(row, state, None, reason)
        self._tell(row.number, state)
        self._listen(row.number)

    def _complete(self, row: TrialRow, finished: Sequence[FoldRow]) -> str:
        state = self._close(row, "complete", mean([fold.score for fold in finished]), "")
        if len(self.objectives) > 1:
            if (worth := self._record.worth(self.ledger.trial(row.number))) is not None:
                self._front[row.number] = worth
            best = front(self._front, self.objectives)
            self._front = {
                number: self._front[number] for number in best
            }  # who has left it does not come back
            if best != self.ledger.fact("front"):
                self.ledger.write_fact("front", best)
        return state

    def _close(self, row: TrialRow, state: str, objective: float | None, reason: str) -> str:
        self.ledger.close_trial(row.number, state, objective, reason)
        if state in ("failed", "infeasible"):
            self._judge.forget(row)
        return state


def halved(values: Mapping[str, Any]) -> dict[str, int] | None:
    """The values that compute a batch in twice as many parts; None where a recipe cannot be computed so.

    The step stays that of the whole batch, but for batch norm, which sees the parts.
    """
    from escmodels.recipe import flatten, parse

    parts = flatten(parse(values))["optim.accumulate"]
    assert isinstance(parts, int)
    changes = {"optim.accumulate": 2 * parts}
    try:
        parse({**values, **changes})
    except ValueError:
        return None
    return changes


def _outcome(row: TrialRow) -> str:
    """As the proposer is told: what lies in the recipe shall not be proposed again, a lost worker teaches nothing."""
    return "infeasible" if row.state == "failed" and row.losses < LOSSES - 1 else row.state


def _identity(values: Mapping[str, Any]) -> str:
    return json.dumps(sorted(values.items()))
