"""What the search found about a recipe on validation clips, and the exam takes over: its epochs and its drops."""

import math
from collections.abc import Mapping, Sequence
from statistics import median_high

import numpy as np

from spaces.domains import Value

from .ledger import Ledger, TrialRow


def settled_epochs(curves: Sequence[Sequence[float]], clips: int) -> int:
    """The number of epochs to train, from validation curves (accuracy by epoch, one curve a split).

    The full length, unless the mean curve (smoothed over 3 epochs) was higher before by more than one standard
    error of an accuracy measured on so many validation clips in all: annealed schedules are best at
    their end, and a lucky early peak is not a reason to stop there.
    """
    mean = np.mean(np.asarray(curves, dtype=float), axis=0)
    width = min(3, mean.size)
    smooth = np.convolve(mean, np.ones(width) / width, mode="valid")  # entry i: epochs i+1 .. i+width
    peak, end = int(smooth.argmax()), float(smooth[-1])
    error = np.sqrt(max(end * (1 - end), 1e-4) / clips)
    return peak + width if smooth[peak] > end + error else int(mean.size)


def settled_values(
    values: Mapping[str, Value], rates: Sequence[Sequence[float]], epochs: int
) -> dict[str, Value]:
    """The values to train with where no validation clips are left over: a plateau becomes the steps it took.

    rates: learning rate by epoch in each split of the search. Drop number n comes after the median over the splits
    of the epochs after which they had it, and not at all if fewer than half of them had so many.
    """
    if values.get("schedule") != "plateau":
        return dict(values)
    drops = [_drops(curve) for curve in rates]
    after: list[int] = []
    for number in range(max(map(len, drops), default=0)):
        epoch = median_high(split[number] if len(split) > number else math.inf for split in drops)
        epoch = max(epoch, after[-1] + 1 if after else 0)  # one drop an epoch, as it was
        if epoch < epochs:
            after.append(int(epoch))
    fixed = {name: value for name, value in values.items() if name != "schedule.patience"}
    if not after:
        return fixed | {"schedule": "constant"}
    return fixed | {"schedule": "step", "schedule.at": ",".join(f"{epoch / epochs:.12g}" for epoch in after)}


def _drops(rates: Sequence[float]) -> list[int]:
    """The epochs after which the rate fell: before a plateau drops it, it only rises."""
    pairs = enumerate(zip(rates, rates[1:], strict=False), start=1)
    return [epoch for epoch, (before, after) in pairs if after < before * (1 - 1e-9)]


def curves_of(ledger: Ledger, trial: int, metric: str = "valid_accuracy") -> list[list[float]]:
    """A metric by epoch of the finished fold runs of a trial."""
    return [
        [metrics[metric] for _, metrics, _ in ledger.epochs(fold.key)]
        for fold in ledger.folds(trial, "search")
        if fold.state == "finished"
    ]


def settled(ledger: Ledger, row: TrialRow, clips: int, epochs: int) -> tuple[dict[str, Value], int]:
    """Values and number of epochs for the exam of a trial of a study of so many epochs.

    clips: that validated, over all splits.
    """
    plateau = row.values.get("schedule") == "plateau"
    rates = curves_of(ledger, row.number, "lr") if plateau else []
    curves = curves_of(ledger, row.number)  # none of its own where an equal trial had trained them all
    return settled_values(row.trained, rates, epochs), settled_epochs(curves, clips) if curves else epochs
