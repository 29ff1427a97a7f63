"""What a nested study came to, for people and for scripts."""

import json
from pathlib import Path
from typing import Any

from escmodels.exams import Exam

from . import looks
from .nested import FoldResult, Nested, stale
from .nested_projection import TABLE
from .paste import command, relative
from .rerun import run_command
from .settings import Settings
from .studies import mixed_of
from .terminal import table


def boxed(nested: Nested, settings: Settings) -> tuple[str, str]:
    """Title and text of the summary."""
    study = nested.study
    synthetic = " (synthetic sounds)" if study.dataset.synthetic else ""
    lines = [
        f"data      {study.dataset.name}{synthetic}: {len(study.dataset.clips)} clips, {len(nested.folds)} folds, "
        f"fingerprint {study.data}",
        *fold_lines(nested.folds),
        *exam_lines(nested.exam),
    ]
    if nested.exam is None:
        lines.append(
            stale_line(study.name, study.folder, settings)
            or f"exam      not held yet: {_exam(study.name, settings)}"
        )
    else:
        lines.append(f"table     {relative(study.folder / TABLE)} has the prediction of every clip")
    mixed = [(study.name, mixed_of(study.folder)), *((fold.study, fold.mixed) for fold in nested.folds)]
    for name, changes in mixed:
        lines += [
            f"caution   {change['what']} of {name} changed from {change['before']} to {change['now']} on the way"
            for change in changes
        ]
    lines += [
        "model     none: every fold was predicted by a recipe chosen without it, so the figure judges the procedure",
        "",
        "next, for a model",
        f"  {run_command(study, settings)}",
    ]
    return f"nested study {study.name}", "\n".join(lines)


def stale_line(name: str, folder: Path, settings: Settings) -> str:
    """What is said instead of a figure that is older than what its folds are now; "" where there is none such."""
    if not stale(folder):
        return ""
    return f"exam      out of date, the folds have changed since it was held; hold it again: {_exam(name, settings)}"


def _exam(name: str, settings: Settings) -> str:
    return command(settings, "exam", name)


def fold_lines(folds: tuple[FoldResult, ...]) -> list[str]:
    """One line a fold, as a table."""
    rows = []
    for fold in folds:
        winner = "-" if fold.winner is None else f"t{fold.winner:03d} {fold.values.get('architecture', '')}"
        rows.append(
            (
                fold.study,
                fold.state,
                _counts(fold),
                winner.rstrip(),
                "-" if fold.objective is None else f"{fold.objective:.3f}",
                "-" if fold.exam is None else f"{fold.exam.mean:.3f}",
            )
        )
    head = ("holds out", "state", "trials", "winner", "objective", "exam")
    return ["", *table(head, rows).strip("\n").splitlines(), ""]


def exam_lines(exam: Exam | None) -> list[str]:
    """The joint figure; nothing before it was made."""
    if exam is None:
        return []
    lines = [
        f"exam      accuracy {exam.mean:.3f}, 95 % interval {exam.low:.3f} to {exam.high:.3f}, "
        f"folds {' '.join(f'{score:.3f}' for score in exam.folds)}, macro F1 {exam.macro_f1:.3f}, "
        f"optimism gap {exam.gap:+.3f}"
    ]
    if exam.seed_means and len(exam.seed_means) > 1:
        spread = max(exam.seed_means) - min(exam.seed_means)
        means = " ".join(f"{mean:.3f}" for mean in exam.seed_means)
        lines.append(f"seeds     accuracy of each {means}: {spread:.3f} between the best and the worst")
    said = f"{len(exam.seeds)} seed{'' if len(exam.seeds) == 1 else 's'}; {exam.trials} trials in all"
    lines.append(f"protocol  nested (each fold held out of a search of its own); {said}")
    beware = looks.caution(exam)
    return [*lines, f"caution   {beware}"] if beware else lines


def as_json(nested: Nested, settings: Settings) -> dict[str, Any]:
    """The same for a script."""
    study = nested.study
    return {
        "study": study.name,
        "protocol": study.spec.protocol,
        "data": {
            "name": study.dataset.name,
            "fingerprint": study.data,
            "synthetic": study.dataset.synthetic,
            "clips": len(study.dataset.clips),
        },
        **status_json(nested.folds, nested.exam, stale(study.folder)),
        "mixed": list(mixed_of(study.folder)),
        "predictions": str(study.folder / TABLE) if nested.exam else None,
        "model": None,
        "run": run_command(study, settings),
    }


def status_json(folds: tuple[FoldResult, ...], exam: Exam | None, outdated: bool) -> dict[str, Any]:
    """Folds and figure for a script. outdated: there was a figure, and it is not of what the folds are now."""
    return {
        "folds": [
            {
                "fold": fold.fold,
                "study": fold.study,
                "state": fold.state,
                "trials": dict(fold.trials),
                "winner": fold.winner,
                "objective": fold.objective,
                "values": dict(fold.values),
                "exam": json.loads(fold.exam.to_json()) if fold.exam else None,
                "mixed": [dict(change) for change in fold.mixed],
            }
            for fold in folds
        ],
        "exam": json.loads(exam.to_json()) if exam else None,
        "exam_outdated": outdated,
    }


def _counts(fold: FoldResult) -> str:
    return ", ".join(f"{count} {state}" for state, count in fold.trials.items()) or "-"
