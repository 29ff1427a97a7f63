"""What a search looks for: accuracy first, and what else counts, as `accuracy,-params,-latency`.

With several objectives there is no best trial but a Pareto front: the trials that no other one beats in
one objective without losing in another.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from .ledger import Ledger, TrialRow


@dataclass(frozen=True)
class Objective:
    """One thing that a search makes large (`sign` +1) or small (`sign` -1)."""

    name: str
    sign: int

    def __str__(self) -> str:
        return self.name if self.sign > 0 else f"-{self.name}"


class Known(NamedTuple):
    """A row of the table of objectives."""

    sign: int
    unit: str
    meaning: str


KNOWN = {
    "accuracy": Known(1, "share in [0, 1]", "mean validation accuracy over the splits"),
    "loss": Known(-1, "nats", "mean validation loss over the splits"),
    "params": Known(-1, "parameters", "size of the net as it is shipped"),
    "macs": Known(-1, "multiply-adds", "work of the net to classify one clip, the feature not counted"),
    "latency": Known(-1, "ms", "time to classify one clip on the device of the worker, one thread on a CPU"),
}
COSTS = ("params", "macs", "latency")  # known before the first epoch, whatever the training gives
ACCURACY = (Objective("accuracy", 1),)


def parse(text: str) -> tuple[Objective, ...]:
    """Read `accuracy,-params`. Raises `ValueError` for a name or sign that is not in `KNOWN`, or an order that
    does not begin with accuracy.
    """
    found: list[Objective] = []
    for item in text.split(","):
        word = item.strip()
        name = word.lstrip("+-")
        if name not in KNOWN:
            every = ", ".join(str(Objective(known, row.sign)) for known, row in KNOWN.items())
            raise ValueError(f"unknown objective {word!r}, known: {every}")
        right = Objective(name, KNOWN[name].sign)
        if word not in (str(right), f"+{right}" if right.sign > 0 else ""):
            verb = "maximised" if right.sign > 0 else "minimised"
            raise ValueError(f"objective {name} is {verb}: write {right}, not {word}")
        if right in found:
            raise ValueError(f"objective {name} is named twice in {text!r}, name it once")
        found.append(right)
    if found[0].name != "accuracy":
        others = ",".join(str(objective) for objective in found if objective.name != "accuracy")
        raise ValueError(f"objectives must begin with accuracy: write accuracy,{others}, not {text}")
    return tuple(found)


def worth(
    objectives: Sequence[Objective], accuracy: float, loss: float, costs: Mapping[str, float]
) -> tuple[float, ...]:
    """What a trial is worth, in the order of the objectives, each in its own unit (small is good where sign is -1).

    Raises `KeyError` for a cost that was not measured.
    """
    figures = {**costs, "accuracy": accuracy, "loss": loss}
    return tuple(figures[objective.name] for objective in objectives)


def judged(ledger: "Ledger", row: "TrialRow", objectives: Sequence[Objective]) -> tuple[float, ...] | None:
    """The `worth` of a trial of a ledger; None if it is not complete, or if a cost was not measured."""
    names = {objective.name for objective in objectives}
    if row.objective is None or not names & set(COSTS) <= row.costs.keys():
        return None
    losses: list[float] = []
    if "loss" in names:
        folds = ledger.folds(row.number, "search")
        losses = [fold.loss for fold in folds if fold.state == "finished" and fold.loss is not None]
    loss = math.fsum(losses) / len(losses) if losses else math.nan
    return worth(objectives, row.objective, loss, row.costs)


def front(points: Mapping[int, tuple[float, ...]], objectives: Sequence[Objective]) -> list[int]:
    """Trial numbers on the Pareto front, best first by the first objective (then by the next, then by number).

    points: trial -> `worth`. Trials that are worth the same are on the front together. Raises `ValueError` for NaN.
    """
    gains: dict[int, tuple[float, ...]] = {}
    for number, point in points.items():
        if any(math.isnan(value) for value in point):
            raise ValueError(f"trial {number} has no place on a front: {point} holds NaN")
        gains[number] = tuple(o.sign * value for o, value in zip(objectives, point, strict=True))
    best: list[int] = []
    # best first: whoever dominates a point comes before it, and one who does is on the front itself
    for number in sorted(gains, key=lambda number: (*(-gain for gain in gains[number]), number)):
        if not any(_dominates(gains[other], gains[number]) for other in best):
            best.append(number)
    return best


def _dominates(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(a >= b for a, b in zip(one, other, strict=True))


def no_dearer(
    costs_a: Mapping[str, float], costs_b: Mapping[str, float], objectives: Sequence[Objective]
) -> bool:
    """Whether each cost that is an objective is at most as high in a as in b; one not measured counts as higher."""
    asked = [objective.name for objective in objectives if objective.name in COSTS]
    return all(name in costs_a and name in costs_b and costs_a[name] <= costs_b[name] for name in asked)
