"""Warm start: what an older study teaches a new one, of the same space or a grown one.

Its best recipes are tried first. Its results are told to the sampler only where they are worth the same here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from escmodels.folds import held_out
from escmodels.recipe import flatten, parse
from spaces.domains import Value
from spaces.limits import OVER, exceeded
from spaces.space import Space, taken, walk

from .errors import UsageError
from .glance import Glance
from .ledger import Ledger, TrialRow
from .objectives import Objective, judged
from .projection import StudyFacts
from .settings import Settings

BEST = 3  # recipes of the older study that are tried first
FAMILY = ("architecture", "feature")  # choices that give the other knobs their meaning


@dataclass(frozen=True)
class WarmStart:
    """What an older study teaches. Plain values, as they are kept in the ledger."""

    tries: tuple[dict[str, Value], ...]  # points of the new space, best first
    history: tuple[list[Any], ...]  # [point, outcome, worth or None, {step as text: score}] of a trial
    remark: str  # what is not taken over and why, a sentence; empty: nothing is left out


def read(
    settings: Settings,
    name: str,
    space: Space,
    *,
    data: str,
    epochs: int,
    protocol: str,
    order: Sequence[int],
    objectives: Sequence[Objective],
) -> WarmStart:
    """Read an older study for a new one on `space`, with these data (fingerprint), epochs, protocol and splits.

    A recipe is reduced to the knobs that the new space has; knobs which the older space did not know take the
    value that its trials really had. Knobs that the new space fixes are as it says in `tries`; `history` holds
    only trials that would be the same recipe here.

    Raises:
        UsageError: no such study, none of its trials can be used, or it may know the fold that is held out.
    """
    ledger = Glance(settings.existing_study(name) / "ledger.sqlite")
    try:
        rows = [row for row in ledger.trials() if row.ended is not None]
        recipes = {row.number: _moved(space, row) for row in rows if not _freed(space, row)}
        rows = [row for row in rows if row.number in recipes]
        tries = _tries(rows, recipes, space)
        kept = ledger.fact("study")
        facts = None if kept is None else StudyFacts.from_json(kept)
        asked = {"data": data, "epochs": epochs, "protocol": protocol, "order of splits": list(order)}
        other = _differences(facts, asked)
        if (fold := held_out(protocol)) is not None:
            _check_sealed(name, fold, facts, data, protocol, ledger.fact("mixed", []))
        history = [] if other else _history(ledger, rows, recipes, space, objectives, epochs)
    finally:
        ledger.close()
    if not tries and not history:
        raise UsageError(_useless(name, space, rows, recipes))
    return WarmStart(tuple(tries), tuple(history), _remark(name, space, rows, history, other))


def _check_sealed(
    name: str,
    fold: int,
    facts: StudyFacts | None,
    data: str,
    protocol: str,
    mixed: Sequence[Mapping[str, Any]],
) -> None:
    """Refuse a study whose choice of recipes may know the fold that is held out here."""
    if any(change["what"] == "data" for change in mixed):
        why = "its data have changed on the way"
    elif facts is None or (facts.protocol, facts.data) != (protocol, data):
        why = "; ".join(_differences(facts, {"protocol": protocol, "data": data}))
    else:
        return
    raise UsageError(
        f"study {name} may have seen fold {fold}, which is held out here ({why}): begin with a study of the same "
        "protocol and data, or leave --warm-start out"
    )


@dataclass(frozen=True)
class _Moved:
    """A recipe of the older study in the new space."""

    point: dict[str, Value] | None  # None: it has no place there
    same: bool = False  # it is the very same recipe
    reason: str = ""  # why it has no place


def _moved(space: Space, row: TrialRow) -> _Moved:
    try:
        full = flatten(parse(row.values))
        point = walk(space, lambda knob, domain, path: taken(knob, domain, full))
        here = flatten(parse(point))
    except ValueError as error:  # a PointError is one
        return _Moved(None, reason=str(error))
    for choice in FAMILY:
        if here[choice] != full[choice]:
            return _Moved(None, reason=f"{choice} is {full[choice]}, here {here[choice]}")
    return _Moved(point, here == full)


def _freed(space: Space, row: TrialRow) -> bool:
    """Whether a recipe was not trained for its cost alone, and may be here: nothing is known of it."""
    return row.reason.startswith(OVER) and not (_costed(space, row) and exceeded(space.limits, row.costs))


def _costed(space: Space, row: TrialRow) -> bool:
    """Whether it is known what a recipe costs of all that is limited here."""
    return space.limits.keys() <= row.costs.keys()


def _tries(rows: Sequence[TrialRow], recipes: Mapping[int, _Moved], space: Space) -> list[dict[str, Value]]:
    """The best recipes, those apart that are known to cost too much here."""
    done = [
        row
        for row in rows
        if row.state == "complete"
        and row.objective is not None
        and not (_costed(space, row) and exceeded(space.limits, row.costs))
    ]
    tries: list[dict[str, Value]] = []
    for row in sorted(done, key=lambda row: (-(row.objective or 0.0), row.number)):
        point = recipes[row.number].point
        if point is not None and point not in tries:
            tries.append(point)
    return tries[:BEST]


def _differences(facts: StudyFacts | None, asked: Mapping[str, Any]) -> list[str]:
    """What makes results of the older study worth something else here."""
    if facts is None:
        return ["what it ran on is not recorded"]
    theirs = {
        "data": facts.data,
        "epochs": facts.params.get("epochs"),
        "protocol": facts.protocol,
        "order of splits": list(facts.order),
    }
    return [
        f"{what} {theirs[what]} there, {value} here" for what, value in asked.items() if theirs[what] != value
    ]


def _history(
    ledger: Ledger,
    rows: Sequence[TrialRow],
    recipes: Mapping[int, _Moved],
    space: Space,
    objectives: Sequence[Objective],
    epochs: int,
) -> list[list[Any]]:
    """Trials that are the same recipe here, with what is known of them; a complete one only if all of that is.

    What costs too much here is infeasible, whatever it came to there.
    """
    mixed = [change["time"] for change in ledger.fact("mixed", []) if change["what"] == "data"]
    steps: dict[int, dict[str, float]] = {}
    for trial, position, epoch, score in ledger.rungs():
        steps.setdefault(trial, {})[str((position - 1) * epochs + epoch)] = score
    history: list[list[Any]] = []
    for row in rows:
        recipe, worth = recipes[row.number], judged(ledger, row, objectives)
        if not recipe.same or (row.ended or 0.0) < max(
            mixed, default=0.0
        ):  # trained on data that have changed
            continue
        if not _costed(space, row):
            continue
        if exceeded(space.limits, row.costs):
            history.append([recipe.point, "infeasible", None, {}])
        elif row.state != "complete" or worth is not None:
            history.append([recipe.point, row.state, worth and list(worth), steps.get(row.number, {})])
    return history


def _useless(name: str, space: Space, rows: Sequence[TrialRow], recipes: Mapping[int, _Moved]) -> str:
    """The sentence about a study that cannot be used."""
    end = "run it further, or leave --warm-start out"
    complete = [row for row in rows if row.state == "complete"]
    if not complete:
        return f"study {name} has no complete trial to start from: {end}"
    first = complete[0].number
    return (
        f"no complete trial of study {name} has a place in space {space.name} "
        f"(trial {first}: {recipes[first].reason}): widen the space, or leave --warm-start out"
    )


def _remark(
    name: str, space: Space, rows: Sequence[TrialRow], history: Sequence[object], other: Sequence[str]
) -> str:
    if other:
        return (
            f"of study {name} the best recipes are tried, its results do not count here: {'; '.join(other)}"
        )
    if left := len(rows) - len(history):
        return (
            f"{left} of {len(rows)} trials of study {name} do not count here: their recipes have no place in space "
            f"{space.name}, their data have changed, or an objective or what is limited was not measured"
        )
    return ""
