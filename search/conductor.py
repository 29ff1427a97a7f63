"""The conductor of a search: hands out trials, writes what comes back into the ledger, says who goes on.

It knows nothing of where trials run: `local.py` calls it in a loop, `cluster.py` through Ray Tune's searcher
and scheduler. Everything it has to remember over a crash is in the ledger, so that a conductor built on the
ledger of a killed one goes on where that stood.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .ledger import Ledger, TrialRow, fold_key
from .pruning import Halving, rung_score, rungs
from .trial import Assignment, Plan, Report

if TYPE_CHECKING:
    from .suggest import Proposer  # Optuna is not needed to read this module

LOSSES = 3  # workers that may die under a trial before it is given up
REPEATS = 3  # known proposals in a row (the proposer avoids them itself) before the space counts as exhausted


@dataclass(frozen=True)
class Limits:
    """When a search ends, and how it prunes."""

    trials: int
    hours: float | None = None  # no new trial is begun after that
    pruner: str = "asha"  # or "none"
    eta: float = 2.0
    minimum: int = 4  # competitors at a rung before anyone is stopped there

    def __post_init__(self) -> None:
        if self.trials < 1:
            raise ValueError(f"trials must be at least 1, got {self.trials}")
        if self.hours is not None and self.hours <= 0:
            raise ValueError(f"hours must be positive, got {self.hours}")
        if self.eta <= 1 or self.minimum < 2:
            raise ValueError(
                f"eta must be above 1 and competitors at least 2, got {self.eta} and {self.minimum}"
            )
        if self.pruner not in ("asha", "none"):
            raise ValueError(f"unknown pruner {self.pruner!r}, known: asha, none")


class Conductor:
    """One search session on one ledger. Not thread-safe: one thread calls it."""

    def __init__(
        self,
        ledger: Ledger,
        proposer: "Proposer",
        plan: Plan,
        limits: Limits,
        *,
        data: str,
        code: str,
        clock: Callable[[], float] = time.monotonic,
        listen: Callable[[int], None] = lambda trial: None,
    ) -> None:
        self.ledger, self.plan, self.limits = ledger, plan, limits
        self._proposer, self._data, self._code = proposer, data, code
        self._clock, self._listen = clock, listen
        self._began = clock()
        self._proposals: dict[int, int] = {}  # trial -> number of the proposal
        points = rungs(len(plan.splits), plan.epochs, limits.eta) if limits.pruner == "asha" else ()
        self._halving = Halving(points, limits.minimum)
        self._positions = {split.number: place for place, split in enumerate(plan.splits, start=1)}
        self._known = {_identity(row.values) for row in ledger.trials()}
        self._exhausted = False
        self._recall()

    def _recall(self) -> None:
        """Take up the history of the ledger: rungs, what the sampler has seen, trials that wait."""
        self._halving.remember(self.ledger.rungs())
        for row in self.ledger.trials():
            if row.state == "running":  # its driver was killed
                self.ledger.suspend_trial(row.number)
            ended = row.state in ("complete", "pruned", "failed")
            outcome = row.state if ended else "running"
            proposal = self._proposer.replay(row.values, outcome, row.objective, self._points(row.number))
            if not ended:
                self._proposals[row.number] = proposal

    # handing out

    def next(self) -> Assignment | None:
        """The next trial to run, or None when there is nothing more to begin."""
        if waiting := self.ledger.trials("waiting"):
            row = waiting[0]
            self.ledger.retry_trial(row.number)
            self._listen(row.number)
            return Assignment(row.number, row.values, frozenset(self._finished(row)))
        if self.out_of_time or self._exhausted or self.ledger.count_trials() >= self.limits.trials:
            return None
        return self._propose()

    def _propose(self) -> Assignment | None:
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
        self._listen(number)
        return Assignment(number, values)

    @property
    def exhausted(self) -> bool:
        """Whether the space held fewer different recipes than were asked for."""
        return self._exhausted

    @property
    def out_of_time(self) -> bool:
        """Whether the hours asked for have passed."""
        return self.limits.hours is not None and self._clock() - self._began > self.limits.hours * 3600

    # taking in

    def on_report(self, report: Report) -> bool:
        """Write one report down, and what follows from it, in one transaction; True if the trial goes on."""
        row = self.ledger.trial(report.trial)
        if row.state != "running":  # late news of a trial that has ended
            return False
        with self.ledger.transaction():
            end = self._take(row, report)
        if end is not None:
            self._proposer.tell(self._proposals.pop(row.number), end, *self._worth(row.number))
        self._listen(row.number)
        return end not in ("pruned", "failed")  # of a complete trial the worker ends by itself

    def _take(self, row: TrialRow, report: Report) -> str | None:
        """Write a report; the state in which the trial ends by it, None if it goes on."""
        if report.failed:
            return self._close(row, "failed", None, report.failed)
        key = self.key(row.values, report.split)
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

    def _verdict(self, row: TrialRow, position: int, epoch: int, key: str) -> str | None:
        finished = self._finished(row)
        if len(finished) == len(self.plan.splits):
            return self._complete(row)
        if self._halving.rung(position, epoch) is None:
            return None
        before = [finished[split.number] for split in self.plan.splits[:position] if split.number in finished]
        current = []
        if len(before) < position:
            current = [metrics["valid_accuracy"] for _, metrics, _ in self.ledger.epochs(key)]
        score = rung_score(before, current)
        self.ledger.write_rung(row.number, position, epoch, score)
        if self._halving.judge(row.number, position, epoch, score):
            return None
        return self._close(row, "pruned", None, f"behind at split {position}, epoch {epoch}")

    def on_lost(self, trial: int, reason: str) -> None:
        """The worker of a trial is gone. The trial is taken up again, a few times."""
        row = self.ledger.trial(trial)
        if row.state != "running":
            return
        if row.losses + 1 < LOSSES:
            self.ledger.suspend_trial(trial, lost=True)
        else:
            self._close(row, "failed", None, f"lost {LOSSES} workers, last: {reason}")
            self._proposer.tell(self._proposals.pop(trial), "failed", *self._worth(trial))
        self._listen(trial)

    def _complete(self, row: TrialRow) -> str:
        scores = self._finished(row)
        return self._close(row, "complete", sum(scores.values()) / len(scores), "")

    def _close(self, row: TrialRow, state: str, objective: float | None, reason: str) -> str:
        self.ledger.close_trial(row.number, state, objective, reason)
        return state

    def _worth(self, trial: int) -> tuple[float | None, dict[int, float]]:
        """Objective and intermediate values of a trial, as the proposer is told them."""
        return self.ledger.trial(trial).objective, self._points(trial)

    def _points(self, trial: int) -> dict[int, float]:
        """Step -> score of a trial at the rungs that it has reached."""
        return {
            (position - 1) * self.plan.epochs + epoch: score
            for _, position, epoch, score in self.ledger.rungs(trial)
        }

    # helpers

    def key(self, values: Mapping[str, Any], split: int) -> str:
        """The key of a fold run of this search."""
        return fold_key(
            values,
            phase="search",
            split=split,
            seed=self.plan.seed,
            epochs=self.plan.epochs,
            data=self._data,
            code=self._code,
        )

    def _finished(self, row: TrialRow) -> dict[int, float]:
        """Split -> score of the fold runs that stand."""
        scores = {}
        for split in self.plan.splits:
            fold = self.ledger.fold(self.key(row.values, split.number))
            if fold is not None and fold.state == "finished" and fold.score is not None:
                scores[split.number] = fold.score
        return scores


def _identity(values: Mapping[str, Any]) -> str:
    return json.dumps(sorted(values.items()))
