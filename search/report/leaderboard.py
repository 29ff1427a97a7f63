"""The best trials of a study with what they cost, measured here for those that are shown and no others."""

import math
import warnings
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass

from escmodels.costs import costs, noise
from escmodels.recipe import parse

from ..ledger import TrialRow
from ..objectives import Objective, front
from .facts import Examined, Facts, family

BEST = 10  # trials shown, and the best one of each architecture
COSTS = ("params", "macs", "latency")


@dataclass(frozen=True)
class Entry:
    """A trial on the leaderboard."""

    place: int  # among the complete trials, from 1
    row: TrialRow
    family: str
    scores: tuple[float, ...]  # validation accuracy of its splits
    examined: Examined | None
    costs: Mapping[str, float]  # those of `COSTS` that could be measured


def leaderboard(
    facts: Facts, seconds: float | None, tick: Callable[[int, int], None] = lambda done, total: None
) -> list[Entry]:
    """The best complete trials and the best of each architecture, best first.

    seconds: length of the clip that is timed; None: as long as each recipe's crop.
    """
    rows = facts.complete
    first = {family(row): place for place, row in reversed(list(enumerate(rows)))}
    shown = sorted({*range(min(BEST, len(rows))), *first.values()})
    exams = {one.row.number: one for one in facts.exams}
    entries, timed = [], dict[Hashable, float]()
    for done, place in enumerate(shown, start=1):
        row = rows[place]
        scores = facts.scores.get(row.number, ())
        measured = _costs(row, seconds, facts.classes, timed)
        entries.append(Entry(place + 1, row, family(row), scores, exams.get(row.number), measured))
        tick(done, len(shown))
    return entries


def pareto(entries: list[Entry], cost: str) -> list[Entry]:
    """Those that no other one beats in accuracy and a cost, the cheapest first."""
    known = {e.row.number: e for e in entries if cost in e.costs}
    objectives = (Objective("accuracy", 1), Objective(cost, -1))
    points = {n: (e.row.objective or 0.0, _rounded(cost, e.costs[cost])) for n, e in known.items()}
    best = front(points, objectives)
    return sorted((known[number] for number in best), key=lambda entry: entry.costs[cost])


def _rounded(cost: str, value: float) -> float:
    """A time to two digits: what differs by less was as long, and chance would make a front of it."""
    return float(f"{value:.2g}") if cost == "latency" else value


def _costs(
    row: TrialRow, seconds: float | None, classes: tuple[str, ...], timed: dict[Hashable, float]
) -> dict[str, float]:
    """Costs on the CPU of this machine; empty for a recipe that this version cannot build or run here.

    timed: what nets of the same size and work on the same input took, so that chance does not rank them.
    """
    try:
        recipe = parse(row.trained)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of layers that pad unevenly: for whoever trains
            length = max(1, math.ceil((seconds or recipe.data.crop) * recipe.data.sample_rate))
            clips = noise(length, recipe.data.sample_rate, classes or ("one", "two"))
            found = costs(recipe, clips, "cpu", ("params", "macs"))
            alike = (family(row), recipe.data, recipe.feature, *found.values())
            if alike not in timed:
                timed[alike] = costs(recipe, clips, "cpu", ("latency",))["latency"]
            return {**found, "latency": timed[alike]}
    except (ValueError, RuntimeError):  # torch raises the latter: sizes that do not fit, too little memory
        return {}
