"""What a finished study says: the boxed summary, the same as JSON, the next commands."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from escmodels.exams import Exam

from . import looks
from .errors import Failure
from .ledger import ENDED
from .optuna_store import open_command
from .paste import command, relative
from .progress import clock, figure, label
from .projection import REPORT
from .run import example_clip
from .session import Outcome
from .settings import Settings
from .study import Study
from .ties import LEVEL, RunnerUp, runners_up

FRONT = 5  # trials of the front that are shown
STATES = (*ENDED, "queued", "waiting")
PROTOCOLS = {
    "rotating": "rotating (tuned CV: each test fold served as validation in another split)",
    "held-out": "{} (that fold was in no split of the search)",
    "nested": "nested (each fold held out of a search of its own: this judges the procedure, not one model)",
}
VERDICTS = {
    "tied": "statistically tied with it",
    "behind": "behind it",
    "ahead": "ahead of it on the test folds: the winner is chosen by validation, before one is opened",
}


def result_line(exam: Exam) -> str:
    """The figure of an exam with all that has to stand beside it."""
    folds = " ".join(f"{fold:.3f}" for fold in exam.folds)
    return (
        f"accuracy {exam.mean:.3f}, 95 % interval {exam.low:.3f} to {exam.high:.3f}, folds {folds}, "
        f"macro F1 {exam.macro_f1:.3f}, optimism gap {exam.gap:+.3f}"
    )


def next_commands(study: Study, settings: Settings, champion: str | None) -> list[str]:
    """Commands that can be pasted into the shell that ran this one. champion: name of the model, if it has one."""
    name, commands = study.name, []
    if champion:
        model = f"models:/{champion}@champion"
        commands.append(command(settings, "predict", model, example_clip(study)))
        commands.append(command(settings, "models", champion))
    return [
        *commands,
        *(command(settings, word, name) for word in ("report", "status")),
        command(settings, "ui"),
    ]


def boxed(outcome: Outcome, settings: Settings) -> tuple[str, str]:
    """(title, text) of the final box."""
    study = outcome.study
    seconds = sum(outcome.seconds.values())
    states = ", ".join(f"{outcome.count(s)} {s}" for s in STATES if outcome.count(s))
    data = f"{study.dataset.name}{' (synthetic sounds)' if study.dataset.synthetic else ''}"
    lines = [
        f"data      {data}: {len(study.dataset.clips)} clips, {len(study.dataset.classes)} classes, "
        f"{len(study.folds)} folds, fingerprint {study.data}",
        f"search    {len(outcome.trials)} trials ({states}){_took(outcome)}; "
        f"{outcome.epochs_spent} of {outcome.epochs_full} epochs of a full search"
        + (f", {1 - outcome.epochs_spent / outcome.epochs_full:.0%} saved" if outcome.epochs_full else ""),
    ]
    if len(outcome.front) > 1:
        lines.append(_front_line(outcome))
    for change in outcome.mixed:
        lines.append(
            f"caution   the {change['what']} changed during the study ({change['before']} to {change['now']}) and that "
            "was accepted: figures of both are compared"
        )
    if study.dataset.skipped:
        lines.append(f"left out  {len(study.dataset.skipped)} clips, named with the reason in study.yaml")
    if study.similar:
        lines.append(
            f"caution   {study.similar} pairs of clips hold the same audio in two folds and were accepted as they are"
            " (--accept-similar): figures are too high by what that gives away"
        )
    if outcome.exams:
        lines += _exam_lines(outcome)
    elif best := outcome.best:
        lines.append(
            f"best      {label(best)}: objective {best.objective:.3f} (mean of the validation folds; no exam yet)"
        )
    if outcome.shipped:
        lines.append(_shipped_line(outcome))
    if outcome.backlog:
        later = command(settings, "sync", study.name)
        lines.append(f"MLflow    {outcome.backlog} changes still wait; send them later with: {later}")
    if (page := study.folder / REPORT).is_file():
        lines.append(f"report    {relative(page)}")
    stages = ", ".join(f"{name} {clock(value)}" for name, value in outcome.seconds.items())
    lines.append(f"time      {clock(seconds)} ({stages})")
    if study.optuna_path.is_file():
        lines.append(f"Optuna    {open_command(study.optuna_path)} (a package of its own)")
    if outcome.trouble:
        lines.append(f"model     not registered: {outcome.trouble}")
    lines += ["", "next"]
    lines += [
        f"  {line}"
        for line in next_commands(study, settings, outcome.shipped.name if outcome.shipped else None)
    ]
    return f"study {study.name}", "\n".join(lines)


def _front_line(outcome: Outcome) -> str:
    """The trials that no other one beats in every objective."""
    rows = {row.number: row for row in outcome.trials}
    asked = outcome.study.spec.objective
    shown = [
        f"t{number:03d} {rows[number].objective:.3f} "
        + " ".join(figure(name, value) for name, value in rows[number].costs.items())
        for number in outcome.front[:FRONT]
    ]
    more = f"; and {len(outcome.front) - FRONT} more" if len(outcome.front) > FRONT else ""
    return f"front     {len(outcome.front)} trials by {asked}: {'; '.join(shown)}{more}"


def _took(outcome: Outcome) -> str:
    seconds = outcome.seconds.get("search", 0.0)
    return f" in {clock(seconds)}" if seconds >= 1 else ""


def _exam_lines(outcome: Outcome) -> list[str]:
    winner, exam = outcome.exams[0]
    protocol = PROTOCOLS.get(exam.protocol.split()[0], "{}").format(exam.protocol)
    lines = [
        f"winner    {label(winner)}: objective {exam.validation:.3f} (mean of the validation folds)",
        f"exam      {result_line(exam)}",
        *_score_lines(exam),
        f"protocol  {protocol}; seeds {list(exam.seeds)}; best of {exam.trials} trials",
    ]
    if said := looks.caution(exam):
        lines.append(f"caution   {said}")
    for row, other in outcome.exams[1:]:
        lines.append(
            f"also      {label(row)}: objective {other.validation:.3f}, exam {other.mean:.3f} "
            f"[{other.low:.3f}, {other.high:.3f}]"
        )
    try:
        found = _runners_up(outcome)
    except Failure as error:
        return [*lines, f"ties      not known: {error}"]
    return [*lines, _ties_line(found)] if found else lines


def _score_lines(exam: Exam) -> list[str]:
    """What else was measured; nothing for an exam of an older version."""
    lines = []
    if exam.seed_means and len(exam.seed_means) > 1:
        means = " ".join(f"{mean:.3f}" for mean in exam.seed_means)
        spread = max(exam.seed_means) - min(exam.seed_means)
        lines.append(f"seeds     accuracy of each {means}: {spread:.3f} between the best and the worst")
    if exam.log_loss is not None:
        line = (
            f"scores    top 3 {exam.top3:.3f}, log loss {exam.log_loss:.3f} nats, "
            f"calibration error {exam.calibration_error:.3f}; temperature {exam.temperature:.2f}"
        )
        if exam.calibrated_log_loss is not None:
            line += (
                f", with which they are {exam.calibrated_log_loss:.3f} and {exam.calibrated_error:.3f} "
                "(each fold at the temperature of the others)"
            )
        lines.append(line)
    return lines


def _runners_up(outcome: Outcome) -> list[RunnerUp]:
    return runners_up(outcome.study.folder, [row.number for row, _ in outcome.exams])


def _ties_line(found: Sequence[RunnerUp]) -> str:
    said = []
    for verdict, words in VERDICTS.items():
        names = [f"t{other.trial:03d}" for other in found if other.verdict == verdict]
        if names:
            listed = " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
            said.append(f"{listed} {'are' if len(names) > 1 else 'is'} {words}")
    return f"ties      {'; '.join(said)} (McNemar by clip, bootstrap by source, level {LEVEL:g})"


def _shipped_line(outcome: Outcome) -> str:
    shipped = outcome.shipped
    assert shipped is not None
    if shipped.champion:
        return f"model     models:/{shipped.name}@champion is version {shipped.version}: {shipped.reason}"
    kept = f" (version {shipped.version}, @challenger)" if shipped.challenger else ""
    return f"model     not promoted{kept}: {shipped.reason}"


def as_json(outcome: Outcome, settings: Settings) -> dict[str, Any]:
    """The same for a script."""
    study = outcome.study
    shipped = outcome.shipped
    return {
        "study": study.name,
        "folder": str(study.folder),
        "data": {
            "name": study.dataset.name,
            "fingerprint": study.data,
            "synthetic": study.dataset.synthetic,
            "skipped": dict(study.dataset.skipped),
            "similar_across_folds": study.similar,
        },
        "trials": {state: outcome.count(state) for state in STATES},
        "exams": [
            {"trial": row.number, "values": row.values, **json.loads(exam.to_json()), "gap": exam.gap}
            for row, exam in outcome.exams
        ],
        "ties": _ties_json(outcome),
        "model": None
        if shipped is None
        else {
            "name": shipped.name,
            "version": shipped.version,
            "champion": shipped.champion,
            "reason": shipped.reason,
        },
        "epochs": {"spent": outcome.epochs_spent, "full": outcome.epochs_full},
        "seconds": {name: round(value, 2) for name, value in outcome.seconds.items()},
        "front": [
            {"trial": row.number, "accuracy": row.objective, **row.costs}
            for number in outcome.front
            for row in outcome.trials
            if row.number == number
        ],
        "mixed": outcome.mixed,
        "optuna": open_command(study.optuna_path) if study.optuna_path.is_file() else None,
        "trouble": outcome.trouble or None,
        "backlog": outcome.backlog,
        "next": next_commands(study, settings, shipped.name if shipped else None),
    }


def _ties_json(outcome: Outcome) -> dict[str, Any] | None:
    """The runners-up against the winner; None where there is nothing to compare."""
    try:
        found = _runners_up(outcome)
    except Failure as error:
        return {"level": LEVEL, "trouble": str(error), "trials": []}
    if not found:
        return None
    trials = [{"trial": o.trial, "verdict": o.verdict, **asdict(o.comparison)} for o in found]
    return {"level": LEVEL, "trouble": None, "trials": trials}
