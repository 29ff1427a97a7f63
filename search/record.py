"""What the ledger says of a trial, in the terms of one search: its plan, its objectives, its data and code."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .ledger import FoldRow, Ledger, TrialRow, fold_key
from .objectives import COSTS, Objective, judged
from .trial import Plan


@dataclass(frozen=True)
class Record:
    """Reads a ledger. labels: split -> class of each of its validation clips; data, code: fingerprints."""

    ledger: Ledger
    plan: Plan
    objectives: tuple[Objective, ...]
    labels: Mapping[int, np.ndarray]
    data: str
    code: str

    def key(self, row: TrialRow, split: int) -> str:
        """The key of a fold run of this search."""
        return fold_key(
            row.trained,
            phase="search",
            split=split,
            seed=self.plan.seed,
            epochs=self.plan.epochs,
            data=self.data,
            code=self.code,
        )

    def finished(self, row: TrialRow) -> list[FoldRow]:
        """The fold runs that stand, in the order of the study's splits."""
        rows = [self.ledger.fold(self.key(row, split.number)) for split in self.plan.splits]
        return [fold for fold in rows if fold is not None and fold.state == "finished"]

    def right(self, folds: Sequence[FoldRow]) -> np.ndarray:
        """bool: for each validation clip of these fold runs in order whether it was right."""
        return np.concatenate(
            [np.frombuffer(fold.predictions or b"", np.int16) == self.labels[fold.split] for fold in folds]
        )

    def worth(self, row: TrialRow) -> tuple[float, ...] | None:
        """What a complete trial is worth, in the order of the objectives; None for another one."""
        return judged(self.ledger, row, self.objectives)

    def costs(self, row: TrialRow) -> tuple[float, ...]:
        """What a trial costs, as far as it is an objective: its competitors cost no more."""
        return tuple(row.costs[objective.name] for objective in self.objectives if objective.name in COSTS)

    def step(self, position: int, epoch: int) -> int:
        """A point of a trial as one number: the epochs trained until then."""
        return (position - 1) * self.plan.epochs + epoch


def mean(values: Sequence[float | None]) -> float:
    """Of the values that there are."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known)
