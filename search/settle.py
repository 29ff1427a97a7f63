"""What the search found about a recipe on validation clips, and the exam takes over: its epochs and its drops."""

from collections.abc import Mapping, Sequence
from statistics import median

import numpy as np

from escmodels.schedule import ScheduleConfig
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

    rates: learning rate by epoch in each split of the search. A drop counts if at least half the splits had
    that many; it comes where the median of them had it.
    """
    if values.get("schedule") != "plateau":
        return dict(values)
    warmup = float(values.get("schedule.warmup", ScheduleConfig.warmup))
    drops = [_drops(curve, warmup * epochs) for curve in rates]
    shares = []
    for number in range(max(map(len, drops))):
        had = [split[number] for split in drops if len(split) > number]
        if 2 * len(had) >= len(drops):
            shares.append(median(had) / epochs)
    fixed = {name: value for name, value in values.items() if name != "schedule.patience"}
    if not shares:
        return fixed | {"schedule": "constant"}
    return fixed | {"schedule": "step", "schedule.at": ",".join(f"{share:.12g}" for share in shares)}


def _drops(rates: Sequence[float], warm: float) -> list[int]:
    """The epochs after which the rate fell."""
    pairs = enumerate(zip(rates, rates[1:], strict=False), start=1)
    return [epoch for epoch, (before, after) in pairs if after < before * (1 - 1e-9) and epoch >= warm]


def curves_of(ledger: Ledger, trial: int, metric: str = "valid_accuracy") -> list[list[float]]:
    """A metric by epoch of the finished fold runs of a trial."""
    return [
        [metrics[metric] for _, metrics, _ in ledger.epochs(fold.key)]
        for fold in ledger.folds(trial, "search")
        if fold.state == "finished"
    ]


def settled(ledger: Ledger, row: TrialRow, clips: int, epochs: int) -> tuple[dict[str, Value], int]:
    """Values and number of epochs for the exam of a trial of a study of so many clips and epochs."""
    plateau = row.values.get("schedule") == "plateau"
    rates = curves_of(ledger, row.number, "lr") if plateau else []
    return settled_values(row.values, rates, epochs), settled_epochs(curves_of(ledger, row.number), clips)
