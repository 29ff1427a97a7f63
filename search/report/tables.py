"""The tables and cards of a report, as text.

Shape letters: K classes.
"""

import time
from dataclasses import dataclass
from typing import Any

from spaces import limits

from ..datasets.dataset import Dataset
from ..nested import NOT_BEGUN
from ..paste import command
from ..settings import Settings
from .charts import label, percent
from .facts import Examined, Facts, family
from .leaderboard import COSTS, Entry
from .svg import number
from .words import duration

REASONS = 5  # of trials that came to nothing
PRUNERS = {  # settings of --pruner
    "both": "inside the first split (asha), and between splits (race)",
    "asha": "inside the first split (asha)",
    "race": "between splits (race)",
}


@dataclass(frozen=True)
class PerClass:
    """How one class fared. Shares are NaN where there is nothing to divide by."""

    name: str
    clips: int
    recall: float
    precision: float
    f1: float
    mistaken: str  # for what, most often


def cards(facts: Facts) -> list[tuple[str, str]]:
    """Figures at a glance."""
    cards = []
    if facts.exams:
        exam = facts.exams[0].exam
        cards += [
            ("accuracy", percent(exam.mean)),
            ("95 % interval", f"{100 * exam.low:.1f} to {percent(exam.high)}"),
            ("macro F1", f"{exam.macro_f1:.3f}"),
            ("optimism gap", f"{100 * exam.gap:+.1f} points".replace("-", "\N{MINUS SIGN}")),
        ]
        if exam.seed_means is not None and len(exam.seed_means) > 1:
            spread = f"{percent(min(exam.seed_means))} to {percent(max(exam.seed_means))}"
            cards.append((f"{len(exam.seed_means)} seeds", spread))
    trials = sum(sum(fold.trials.values()) for fold in facts.inner) or len(facts.rows)
    cards.append(("trials", f"{trials:,}"))
    if facts.saved is not None:
        cards.append(("saved by pruning", percent(facts.saved, 0)))
    return cards


def asked(facts: Facts, dataset: Dataset | None) -> list[tuple[str, str]]:
    """What the study was told, in words."""
    told, session, study = facts.asked, facts.session, facts.study
    folds = len(session.get("splits", ())) or (len(study.order) if study else 0)
    epochs = session.get("epochs") or told.get("epochs") or (facts.space.epochs if facts.space else 0)
    budget = (
        f"{told.get('trials') or session.get('trials')} trials, each {folds} trainings of {epochs} epochs"
    )
    if facts.inner:
        budget = f"{len(facts.inner)} searches of {budget}"
    lines = [
        ("data", f"{facts.data_name}{_counted(facts, dataset)}"),
        ("search space", f"{told.get('space', '')}{f': {facts.space.about}' if facts.space else ''}"),
        ("looked for", str(told.get("objective", "accuracy"))),
        ("budget", budget),
        ("sampler", f"{told.get('sampler')}, seed {told.get('seed')}"),
        ("early stopping", PRUNERS.get(str(told.get("pruner")), "none")),
    ]
    if facts.rows:
        lines.append(("workers' time", duration(facts.seconds)))
        lines.append(("began", time.strftime("%Y-%m-%d %H:%M", time.localtime(facts.rows[0].started))))
    if told.get("hours"):
        lines.append(("time limit", f"{told['hours']:g} hours a session"))
    if facts.space and facts.space.limits:
        lines.append(("limits", limits.text(facts.space.limits)))
    if told.get("fixed"):
        lines.append(("fixed", ", ".join(f"{knob} = {value}" for knob, value in told["fixed"].items())))
    if told.get("warm_start"):
        lines.append(("learned from", f"study {told['warm_start']}"))
    if study:
        lines.append(("data fingerprint", study.data))
    if dataset is not None:
        lines.append(("licence", dataset.licence))
    return lines


def _counted(facts: Facts, dataset: Dataset | None) -> str:
    """How much data there is, where it is known: of the whole set, or else of what the search has seen."""
    skipped = facts.asked.get("skipped") or ()
    if dataset is not None:
        used = [clip for clip in dataset.clips if clip.name not in skipped]
        clips, classes = len(used), len({clip.label for clip in used})
        recordings, beside = len({clip.source for clip in used}), ""
    else:
        clips, classes, recordings = len(facts.label_N), len(facts.classes), len(set(facts.source_N.tolist()))
        name, _, fold = str(facts.asked.get("protocol", "")).partition(" ")
        beside = f", beside those of fold {fold}, which was held out" if name == "held-out" else ""
    return (
        f": {clips:,} clips of {classes} classes, cut from {recordings:,} recordings{beside}" if clips else ""
    )


def timed(seconds: float | None) -> str:
    """What the time of the leaderboard is for."""
    return "one crop" if seconds is None else f"one clip of {seconds:.3g} s"


def board(entries: tuple[Entry, ...]) -> list[dict[str, Any]]:
    """Rows of the leaderboard as text; what could not be measured is a dash."""
    rows = []
    for entry in entries:
        exam = None if entry.examined is None else entry.examined.exam
        cost = {name: number(entry.costs[name]) if name in entry.costs else "-" for name in COSTS}
        if "latency" in entry.costs:
            milliseconds = entry.costs["latency"]
            cost["latency"] = f"{milliseconds:.2f} ms" if milliseconds < 10 else f"{milliseconds:.0f} ms"
        rows.append(
            {
                "place": entry.place,
                "trial": label(entry.row.number),
                "family": entry.family,
                "feature": str(entry.row.values.get("feature", "")),
                "objective": percent(entry.row.objective or 0.0),
                "exam": "-" if exam is None else percent(exam.mean),
                "interval": "" if exam is None else f"{100 * exam.low:.1f} to {100 * exam.high:.1f}",
                **cost,
            }
        )
    return rows


def failures(facts: Facts) -> list[tuple[str, str]]:
    """Trials that came to nothing, and why; the last ones."""
    broken = [row for row in facts.rows if row.state in ("failed", "infeasible")]
    return [(f"{label(row.number)} {family(row)}", f"{row.state}: {row.reason}") for row in broken[-REASONS:]]


def inner(facts: Facts, settings: Settings) -> list[tuple[str, ...]]:
    """The studies of a nested one, as rows of a table."""
    return [
        (
            str(fold.fold),
            fold.state,
            str(sum(fold.trials.values())),
            "-" if fold.winner is None else f"{label(fold.winner)} {fold.values.get('architecture', '')}",
            "-" if fold.objective is None else percent(fold.objective),
            "-" if fold.exam is None else percent(fold.exam.mean),
            "" if fold.state == NOT_BEGUN else command(settings, "report", fold.study),
        )
        for fold in facts.inner
    ]


def per_class(one: Examined, classes: tuple[str, ...]) -> list[PerClass]:
    """Every class, the hardest first."""
    counts_KK, seeds = one.confusion_KK, len(one.exam.seeds)
    over = f" over {seeds} seeds" if seeds > 1 else ""  # answers are counted, not clips
    rows = []
    for place, name in enumerate(classes):
        right, true, said = counts_KK[place, place], counts_KK[place].sum(), counts_KK[:, place].sum()
        others = counts_KK[place].copy()
        others[place] = 0
        most = int(others.argmax())
        mistaken = f"{classes[most]} ({others[most]} of {true}{over})" if others[most] else ""
        recall = right / true if true else float("nan")
        precision = right / said if said else float("nan")
        f1 = 2 * right / (true + said) if true + said else float("nan")
        rows.append(PerClass(name, int(true) // seeds, float(recall), float(precision), float(f1), mistaken))
    return sorted(rows, key=lambda row: (row.f1 if row.f1 == row.f1 else 2.0, row.name))
