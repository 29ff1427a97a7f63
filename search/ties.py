"""How the other finalists stand against the winner on the same clips, from their tables of predictions."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from escmodels.exams import Comparison, compare

from . import predictions
from .errors import Failure

LEVEL = 0.05  # p below which a test tells two recipes apart


@dataclass(frozen=True)
class RunnerUp:
    """Another examined trial."""

    trial: int
    verdict: str  # "tied", "behind" or "ahead"
    comparison: Comparison  # the winner first


def runners_up(study: Path, examined: Sequence[int]) -> list[RunnerUp]:
    """The examined trials of a study after the first of them, which is the winner; without a table: left out.

    "ahead" can happen: the winner is chosen by validation, before a test fold is opened. Raises `Failure` with one
    sentence for a table that is damaged or not of the winner's clips.
    """
    places = {trial: predictions.place(study, trial) for trial in examined}
    tables = {trial: predictions.read(place) for trial, place in places.items() if place.is_file()}
    if not examined or examined[0] not in tables:
        return []
    best = tables.pop(examined[0])
    found = []
    for trial, other in tables.items():
        try:
            comparison, reverse = compare(best, other), compare(other, best)
        except ValueError as error:
            raise Failure(f"{places[trial]}: {error}; hold the exam of its study again") from error
        verdict = "behind" if comparison.behind(LEVEL) else "ahead" if reverse.behind(LEVEL) else "tied"
        found.append(RunnerUp(trial, verdict, comparison))
    return found
