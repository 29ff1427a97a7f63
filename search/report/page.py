"""The report of a study: one HTML file that says what was asked, what came out, and how sure it is."""

import dataclasses
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..datasets.dataset import Dataset
from ..datasets.looks.gallery import measure
from ..errors import Failure
from ..files import write_atomically
from ..inside import is_nested
from ..page import data_uri, render
from ..paste import command, shareable
from ..settings import Settings
from ..study import Study
from ..terminal import size
from . import charts, tables
from .charts import label, percent
from .facts import Facts, family, read
from .importance import LEAST, Importances, importances
from .leaderboard import Entry, leaderboard
from .recipe import FILE, model_commands, recipe_yaml, rerun_command, was_settled
from .sounds import SECONDS, Confused, confused, hear
from .svg import STYLE, Chart, number
from .words import cautions, headline, lead, protocol, saving, scores, ties, unknown

SLICES = 9  # knobs whose slices are drawn
MEASURED = 40  # clips whose length says how long a clip is
Tasks = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]  # as terminal.progress


@dataclass(frozen=True)
class Report:
    """What a report says, before it is put into words."""

    facts: Facts
    dataset: Dataset | None
    lost: str  # why there is no data set
    model: str  # registered name of the study's models; "" without a data set
    seconds: float | None  # length of a clip; None: not known
    entries: tuple[Entry, ...]
    importances: tuple[Importances, ...]
    confused: tuple[Confused, ...]


def collect(folder: Path, settings: Settings, tasks: Tasks) -> Report:
    """Read and compute everything. Raises `UsageError` where there is no study, `Failure` for a damaged one."""
    with tasks(f"reading {folder.name}") as tick:
        facts = read(folder)
        tick(1, 1)
    study, lost = _study(folder, settings)
    dataset = None if study is None else study.dataset
    seconds = None if dataset is None else _clip_length(dataset)
    with tasks("measuring the best trials") as tick:
        entries = leaderboard(facts, seconds, tick)
    with tasks("comparing knobs") as tick:
        found = importances(facts)
        tick(1, 1)
    wrong = () if facts.found is None else tuple(confused(facts.found))
    model = "" if study is None else study.model_name
    return Report(facts, dataset, lost, model, seconds, tuple(entries), tuple(found), wrong)


def write(report: Report, path: Path, settings: Settings) -> None:
    """Write the page. Raises `Failure` where it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, html(report, settings))
    except OSError as error:
        raise Failure(f"the report cannot be written to {path}: {error.strerror or error}") from error


def _study(folder: Path, settings: Settings) -> tuple[Study | None, str]:
    """The study with its data set, or why it cannot be opened any more."""
    from ..studies import reopen, reopen_nested

    open_again = reopen_nested if is_nested(folder) else reopen
    try:
        return open_again(folder.name, dataclasses.replace(settings, home=folder.parent)), ""
    except Failure as failure:
        return None, str(failure)


def _clip_length(dataset: Dataset) -> float | None:
    """Median length in s of clips spread over the set; None where none can be read."""
    rows = np.linspace(0, len(dataset.clips) - 1, min(MEASURED, len(dataset.clips))).astype(int)
    seconds, _, _ = measure([dataset.clips[row] for row in rows])
    return float(np.median(list(seconds.values()))) if seconds else None


def figures(report: Report) -> dict[str, list[Chart]]:
    """The charts by section; a section without any is an empty list."""
    facts, entries = report.facts, report.entries
    knobs = list(dict.fromkeys(knob for found in reversed(report.importances) for knob, _ in found.shares))
    varied = sorted({knob for row in facts.complete for knob in row.values}) if not knobs else []
    drawn = [charts.slice_chart(facts, knob) for knob in knobs or varied] if len(facts.complete) > 2 else []
    slices = [chart for chart in drawn if chart is not None][:SLICES]
    made: dict[str, list[Chart | None]] = {
        "exam": [charts.exam_chart(facts.exams, facts.chance)] if facts.exams else [],
        "history": [charts.history_chart(facts)] if facts.rows else [],
        "cost": [charts.cost_chart(entries, cost, facts.families) for cost in ("params", "latency")],
        "importance": [charts.importance_chart(found) for found in report.importances],
        "slices": [*slices],
        "curves": [charts.curve_chart(facts.curves), charts.loss_chart(facts.curves)],
        "confusion": [
            charts.confusion_chart(one.confusion_KK, facts.classes, len(one.exam.seeds))
            for one in facts.exams[:1]
        ],
    }
    return {section: [chart for chart in found if chart is not None] for section, found in made.items()}


def pictures(report: Report) -> dict[str, bytes]:
    """The charts as SVG files by name, for a tracker."""
    files = {}
    for section, made in figures(report).items():
        for place, chart in enumerate(made, start=1):
            name = section if len(made) == 1 else f"{section}-{place}"
            files[f"{name}.svg"] = chart.file()
    return files


def html(report: Report, settings: Settings) -> str:
    """The page as text."""
    from markupsafe import Markup

    facts, settings = report.facts, shareable(settings)  # pages travel: to other people, into MLflow
    best = facts.exams[0] if facts.exams else None
    clips = {} if report.dataset is None else {clip.name: clip for clip in report.dataset.clips}
    shown = figures(report)
    text = recipe_yaml(facts)
    more = command(settings, "resume", facts.name, "--trials", str(len(facts.rows) + 2 * LEAST))
    drawn = {section: [Markup(chart.svg()) for chart in made] for section, made in shown.items()}
    context: dict[str, Any] = {
        "title": headline(facts),
        "lead": lead(facts),
        "style": Markup(STYLE),
        "charts": drawn,
        "widths": {section: [chart.width for chart in made] for section, made in shown.items()},
        "facts": facts,
        "study": facts.study,
        "cautions": cautions(facts, report.dataset),
        "ties": ties(facts),
        "protocol": protocol(facts),
        "saving": saving(facts),
        "cards": tables.cards(facts),
        "asked": tables.asked(facts, report.dataset),
        "board": tables.board(report.entries),
        "timed": tables.timed(report.seconds),
        "importances": report.importances,
        "unknown": unknown(facts, LEAST),
        "scores": scores(facts),
        "classes": [] if best is None else tables.per_class(best, facts.classes),
        "inner": tables.inner(facts, settings),
        "heard": hear(list(report.confused), clips),
        "confused": report.confused,
        "lost": report.lost,
        "seconds": SECONDS,
        "best": best,
        "failures": tables.failures(facts),
        "recipe": text,
        "recipe_file": FILE,
        "recipe_src": data_uri("text/yaml", text.encode("utf-8")),
        "rerun": rerun_command(facts, settings) if text else "",
        "settled": was_settled(facts),
        "label_map": bool(facts.asked.get("label_map")),
        "commands": model_commands(facts, report.model, settings, _example(report.dataset)),
        "more": more if len(facts.complete) < LEAST else "",
        "licence": None if report.dataset is None else report.dataset.licence,
        "non_commercial": report.dataset is not None and report.dataset.non_commercial,
        "synthetic": facts.study is not None and facts.study.synthetic,
        "made": time.strftime("%Y-%m-%d %H:%M"),
        "percent": percent,
        "label": label,
        "number": number,
        "family": family,
    }
    return render("report.html", **context)


def _example(dataset: Dataset | None) -> Path | None:
    return dataset.clips[0].path if dataset is not None and dataset.clips else None


def as_json(report: Report, path: Path) -> dict[str, Any]:
    """What the report says, for a script."""
    facts = report.facts
    return {
        "study": facts.name,
        "path": str(path),
        "bytes": path.stat().st_size,
        "state": facts.state,
        "trials": dict(facts.counts),
        "saved": facts.saved,
        "runners_up": {one.trial: one.verdict for one in facts.runners},
        "exams": [
            {"trial": one.row.number, **dataclasses.asdict(one.exam), "gap": one.exam.gap}
            for one in facts.exams
        ],
        "leaderboard": [
            {
                "trial": entry.row.number,
                "objective": entry.row.objective,
                "family": entry.family,
                **entry.costs,
            }
            for entry in report.entries
        ],
        "importances": [
            {"about": found.about, "trials": found.used, "of": found.of, "shares": dict(found.shares)}
            for found in report.importances
        ],
        "classes": [
            dataclasses.asdict(row)
            | {name: _no_nan(getattr(row, name)) for name in ("recall", "precision", "f1")}
            for one in facts.exams[:1]
            for row in tables.per_class(one, facts.classes)
        ],
        "confused": [dataclasses.asdict(one) for one in report.confused],
        "recipe": recipe_yaml(facts),
        "licence": None if report.dataset is None else report.dataset.licence,
        "cautions": [text for _, text in cautions(facts, report.dataset)],
    }


def _no_nan(share: float) -> float | None:
    return share if share == share else None


def shown_size(path: Path) -> str:
    """How large the page is, for people."""
    return size(path.stat().st_size)
