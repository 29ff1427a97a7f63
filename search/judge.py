"""Which trials go on: pruning, fed from the ledger, and the queue after the first split."""

from collections.abc import Sequence

from .ledger import Ledger, TrialRow
from .pruning import Policy, Pruner, behind, smoothed
from .record import Record, mean
from .trial import Plan

AVERAGES = ("optim.ema", "optim.swa")  # knobs that make the weights an average over steps


class Judge:
    """Compares trials at the points they reach. What it notes is in the ledger: it is built anew from there."""

    def __init__(self, ledger: Ledger, plan: Plan, policy: Policy, record: Record) -> None:
        self._ledger, self._plan, self._policy, self._record = ledger, plan, policy, record
        self._pruner = Pruner(policy, len(plan.splits), plan.epochs)

    def decides(self, position: int, epoch: int) -> bool:
        """Whether a trial may be stopped, or held back, after so many epochs of its `position`-th split."""
        rung = position == 1 and epoch in self._pruner.rungs
        return rung or (epoch == self._plan.epochs and self._pruner.races_at(position))

    def remember(self, row: TrialRow, reached: Sequence[tuple[int, int, float]]) -> None:
        """Take up a trial of an earlier session; `reached`: (position, epoch, score) of its points."""
        if row.state in ("failed", "infeasible"):  # it can win no more, so nobody is behind it
            return
        costs = self._record.costs(row)
        for position, epoch, score in reached:
            if position == 1 and epoch in self._pruner.rungs:
                self._pruner.reached(row.number, epoch, score, costs)
        finished = self._record.finished(row)
        for position in range(1, len(finished) + 1):
            if self._pruner.races_at(position):
                self._pruner.ended(row.number, position, self._record.right(finished[:position]), costs)

    def forget(self, row: TrialRow) -> None:
        """A trial has failed, or begins anew with other values. Whom it had beaten in the race comes back."""
        self._pruner.forget(row.number)
        for other in self._ledger.trials("pruned"):
            if other.reason.startswith(behind(row.number)):
                self._ledger.reopen_trial(other.number)

    def is_point(self, position: int, epoch: int) -> bool:
        """Whether a trial is looked at after so many epochs of its `position`-th split."""
        return epoch == self._plan.epochs or (position == 1 and epoch in self._pruner.rungs)

    def note(self, row: TrialRow, position: int, epoch: int, key: str) -> None:
        """Write down what a trial is worth at a point. key: of the fold run that it has come to."""
        if position == 1:
            curve = [metrics["valid_accuracy"] for _, metrics, _ in self._ledger.epochs(key)]
            score = smoothed(curve, averaged=any(row.values.get(knob) for knob in AVERAGES))
        else:
            score = mean([fold.score for fold in self._record.finished(row)])
        self._ledger.write_rung(row.number, position, epoch, score)

    def behind(self, row: TrialRow, position: int, epoch: int) -> str | None:
        """Why a trial is stopped at a point that it has come to, None if it goes on."""
        costs, reason = self._record.costs(row), None
        if position == 1 and epoch in self._pruner.rungs:
            here = (row.number, position, epoch)
            score = next(score for *point, score in self._ledger.rungs(row.number) if tuple(point) == here)
            reason = self._pruner.halve(row.number, epoch, score, costs)
        if reason is None and epoch == self._plan.epochs and self._pruner.races_at(position):
            right = self._record.right(self._record.finished(row)[:position])
            reason = self._pruner.race(row.number, position, right, costs)
        return reason

    # the queue

    def queue(self) -> list[TrialRow]:
        """Trials that are held back at the end of their first split, the best first."""
        return sorted(self._ledger.trials("queued"), key=lambda row: (-self._first(row), row.number))

    def has_room(self) -> bool:
        """Whether a fresh trial comes before those in the queue."""
        return len(self._ledger.trials("queued")) < self._policy.queue

    def holds_back(self, row: TrialRow, position: int, epoch: int, more: bool) -> bool:
        """Whether a trial that is still in at a point waits there for others, of which there may be `more`."""
        if not self._pruner.queues or (position, epoch) != (1, self._plan.epochs):
            return False
        queue = self.queue()
        its_turn = len(queue) + 1 >= self._policy.queue or not more
        return not its_turn or any(self._first(other) >= self._first(row) for other in queue[:1])

    def _first(self, row: TrialRow) -> float:
        """Accuracy of a trial in its first split."""
        return self._ledger.scores(row.number)[self._plan.splits[0].number]
