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

ATTEMPTS = 3  # of a trial whose worker is lost again and again
REPEATS = 50  # proposals in a row that were tried already before the space counts as exhausted


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
        clock: Callable[[], float] = time.time,
        listen: Callable[[], None] = lambda: None,
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
        history = self.ledger.rungs()
        self._halving.remember(history)
        for row in self.ledger.trials():
            if row.state == "running":  # its driver was killed
                self.ledger.suspend_trial(row.number)
            points = {
                self._step(position, epoch): score
                for trial, position, epoch, score in history
                if trial == row.number
            }
            ended = row.state in ("complete", "pruned", "failed")
            outcome = row.state if ended else "running"
            proposal = self._proposer.replay(row.values, outcome, row.objective, points)
            if not ended:
                self._proposals[row.number] = proposal

    # handing out

    def next(self) -> Assignment | None:
        """The next trial to run, or None when there is nothing more to begin."""
        while waiting := self.ledger.trials("waiting"):
            row = waiting[0]
            finished = self._finished(row)
            self.ledger.retry_trial(row.number)
            if len(finished) < len(self.plan.splits):
                return Assignment(row.number, row.values, frozenset(finished))
            self._complete(row)
        if self.out_of_time or self._exhausted or len(self.ledger.trials()) >= self.limits.trials:
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
        number = len(self.ledger.trials())
        self.ledger.open_trial(number, values)
        self._known.add(_identity(values))
        self._proposals[number] = proposal
        self._listen()
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
        """Write one report down; True if the trial goes on."""
        row = self.ledger.trial(report.trial)
        if report.failed:
            self._close(row, "failed", None, report.failed)
            return False
        position = self._positions[report.split]
        key = self.key(row.values, report.split)
        self.ledger.log_epoch(
            key,
            report.epoch,
            report.metrics,
            trial=row.number,
            phase="search",
            split=report.split,
            seed=self.plan.seed,
        )
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
        self._listen()
        return self._go_on(row, position, report.epoch, key)

    def _go_on(self, row: TrialRow, position: int, epoch: int, key: str) -> bool:
        finished = self._finished(row)
        if len(finished) == len(self.plan.splits):
            self._complete(row)
            return True  # the worker ends by itself
        if self._halving.rung(position, epoch) is None:
            return True
        before = [finished[split.number] for split in self.plan.splits[:position] if split.number in finished]
        current = []
        if len(before) < position:
            current = [metrics["valid_accuracy"] for _, metrics, _ in self.ledger.epochs(key)]
        score = rung_score(before, current)
        self.ledger.write_rung(row.number, position, epoch, score)
        if self._halving.judge(row.number, position, epoch, score):
            return True
        self._close(row, "pruned", None, f"behind at split {position}, epoch {epoch}")
        return False

    def on_lost(self, trial: int, reason: str) -> None:
        """The worker of a trial is gone. The trial is taken up again, a few times."""
        row = self.ledger.trial(trial)
        if row.state != "running":
            return
        if row.attempts < ATTEMPTS:
            self.ledger.suspend_trial(trial)
            self._listen()
        else:
            self._close(row, "failed", None, f"lost {row.attempts} workers, last: {reason}")

    def _complete(self, row: TrialRow) -> None:
        scores = self._finished(row)
        self._close(row, "complete", sum(scores.values()) / len(scores), "")

    def _close(self, row: TrialRow, state: str, objective: float | None, reason: str) -> None:
        self.ledger.close_trial(row.number, state, objective, reason)
        points = {
            self._step(position, epoch): score
            for trial, position, epoch, score in self.ledger.rungs()
            if trial == row.number
        }
        self._proposer.tell(self._proposals.pop(row.number), state, objective, points)
        self._listen()

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

    def _step(self, position: int, epoch: int) -> int:
        return (position - 1) * self.plan.epochs + epoch


def _identity(values: Mapping[str, Any]) -> str:
    return json.dumps(sorted(values.items()))
