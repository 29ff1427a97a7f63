"""All that a report says of a study, read from its folder at one moment. Nothing is drawn or computed from sounds.

Numbers are kept, not dicts: a study of thousands of trials is read in a second or two.
Shape letters: K classes, N clips, E epochs.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from escmodels.exams import Exam, OutOfFold, comparable
from spaces.load import load
from spaces.space import Space, fix

from .. import predictions
from ..errors import Failure, UsageError
from ..glance import Glance
from ..inside import is_nested
from ..ledger import TrialRow
from ..nested import FoldResult, recalled, results
from ..nested_projection import RECORD, TABLE
from ..projection import StudyFacts
from ..standing import COUNTED
from ..ties import RunnerUp, runners_up

CURVES = ("valid_accuracy", "train_loss", "valid_loss")


@dataclass(frozen=True)
class Examined:
    """A finalist and its exam."""

    row: TrialRow  # with the values that the exam trained with
    exam: Exam
    confusion_KK: np.ndarray  # int: clips by [true, predicted], over all seeds
    epochs: int  # that the exam trained for
    name: str = ""  # instead of the trial's

    @property
    def title(self) -> str:
        """What is written beside its figures."""
        return self.name or f"t{self.row.number:03d} {family(self.row)}"


@dataclass(frozen=True)
class Curve:
    """One fold run of the search by epoch: float64 [E] each; NaN where it was not measured."""

    split: int
    valid_accuracy: np.ndarray
    train_loss: np.ndarray
    valid_loss: np.ndarray


@dataclass(frozen=True)
class Facts:
    """A study at one moment."""

    folder: Path
    asked: Mapping[str, Any]  # study.yaml
    space: Space | None  # None: the space file cannot be read by this version
    study: StudyFacts | None  # None: the study was cut off before its first trial
    session: Mapping[str, Any]  # the fact `asked` of the last session
    state: str  # running | searched | done | interrupted
    since: float  # seconds since 1970
    rows: tuple[TrialRow, ...]
    reached: Mapping[int, float]  # trial -> score where it was last compared
    scores: Mapping[int, tuple[float, ...]]  # trial -> accuracies of its whole splits
    spent: int  # epochs of trials that are complete or pruned
    full: int  # that these would have taken without pruning
    seconds: float  # that workers spent on the search
    exams: tuple[Examined, ...]  # of the present data and protocol, best objective first
    odd: tuple[str, ...]  # what is wrong with exams that are not shown, or with their tables
    found: OutOfFold | None  # what the first of them predicted; None: there is no table of it
    runners: tuple[RunnerUp, ...]  # how the exams after the first stand against it; without a table: left out
    curves: tuple[Curve, ...]  # of the winner's search
    mixed: tuple[Mapping[str, Any], ...]  # changes of data or code that were accepted
    classes: tuple[str, ...]
    label_N: np.ndarray  # of the clips that the search may see: without a fold that is held out
    source_N: np.ndarray
    inner: tuple[FoldResult, ...] = ()  # the studies of a nested one, which has no trials itself

    @property
    def name(self) -> str:
        """Of the study, as commands call it."""
        outer = self.folder.parent
        return f"{outer.name}/{self.folder.name}" if is_nested(outer) else self.folder.name

    @property
    def data_name(self) -> str:
        """Of the data set."""
        return self.study.data_name if self.study else Path(str(self.asked.get("data", "the data"))).name

    @property
    def complete(self) -> list[TrialRow]:
        """The complete trials, best first; the earlier among equals."""
        known = [row for row in self.rows if row.state == "complete" and row.objective is not None]
        return sorted(known, key=lambda row: (-(row.objective or 0.0), row.number))

    @property
    def winner(self) -> TrialRow | None:
        """The recipe that the report is about: the best examined one, else the best complete one; none of a nested
        study."""
        if self.inner:
            return None
        return self.exams[0].row if self.exams else next(iter(self.complete), None)

    @property
    def counts(self) -> Counter[str]:
        """Number of trials by state."""
        return Counter(row.state for row in self.rows)

    @property
    def saved(self) -> float | None:
        """Share of the epochs that pruning saved."""
        return 1 - self.spent / self.full if self.full else None

    @property
    def chance(self) -> float | None:
        """Accuracy of always naming the most frequent class of the tested clips; before an exam: of those that
        validate."""
        if self.exams:
            true_K = self.exams[0].confusion_KK.sum(axis=1)
            return float(true_K.max() / true_K.sum())
        return float(np.bincount(self.label_N).max() / len(self.label_N)) if len(self.label_N) else None

    @property
    def families(self) -> list[str]:
        """Architectures of the trials, by name."""
        return sorted({family(row) for row in self.rows})


def family(row: TrialRow) -> str:
    """The architecture of a trial."""
    return str(row.values.get("architecture", "mel_cnn"))


def read(folder: Path) -> Facts:
    """Read a study's folder. Raises `UsageError` where there is no study, `Failure` where one is damaged."""
    asked = _asked(folder)
    if is_nested(folder):
        return _read_nested(folder, asked)
    glance = Glance(folder / "ledger.sqlite")
    try:
        with glance.moment():
            return _read(glance, folder, asked)
    finally:
        glance.close()


def _read_nested(folder: Path, asked: Mapping[str, Any]) -> Facts:
    """A nested study: the figure of its folds together, and how far each has come."""
    inner, study = results(folder), None
    for fold in inner:
        if study is None and (place := folder.parent / fold.study / "ledger.sqlite").is_file():
            glance = Glance(place)
            known = glance.fact("study")
            glance.close()
            study = None if known is None else StudyFacts.from_json(known)
    exams: tuple[Examined, ...] = ()
    found: OutOfFold | None = None
    classes: tuple[str, ...] = ()
    if (exam := recalled(folder)) is not None:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        row = TrialRow(0, {}, "complete", exam.validation, "", 0, 0.0, None)
        confusion_KK = np.asarray(record["confusion"], dtype=np.int64)
        exams = (Examined(row, exam, confusion_KK, 0, "all folds"),)
        found, classes = predictions.read(folder / TABLE), tuple(record["classes"])
    return Facts(
        folder=folder,
        asked=asked,
        space=_space(folder, asked),
        study=study,
        session={},
        state="done" if exams else "running",
        since=0.0,
        rows=(),
        reached={},
        scores={},
        spent=0,
        full=0,
        seconds=0.0,
        exams=exams,
        odd=(),
        found=found,
        runners=(),
        curves=(),
        mixed=tuple(change for fold in inner for change in fold.mixed),
        classes=classes,
        label_N=np.zeros(0, np.int64) if found is None else found.labels,
        source_N=np.zeros(0, np.int64) if found is None else found.sources,
        inner=inner,
    )


def _asked(folder: Path) -> dict[str, Any]:
    path = folder / "study.yaml"
    try:
        asked = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(f"no study at {folder}: there is no study.yaml in it") from error
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise Failure(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(asked, dict):
        raise Failure(f"{path} cannot be read: expected a mapping")
    return asked


def _read(glance: Glance, folder: Path, asked: Mapping[str, Any]) -> Facts:
    known = glance.facts("study", "asked", "clips", "mixed")
    session, clips = known["asked"] or {}, known["clips"] or {"labels": [], "sources": [], "classes": []}
    mixed = tuple(known["mixed"] or ())
    rows = tuple(glance.trials())
    exams, odd = _exams(glance, folder, {row.number: row for row in rows}, mixed)
    state, since = glance.state
    runs = [run for run in glance.runs() if run.state != "stale"]
    counted = {row.number for row in rows if row.state in COUNTED}
    whole = len(session.get("splits", ())) * session.get("epochs", 0)
    scores: dict[int, list[float]] = {}
    for run in sorted(runs, key=lambda run: run.split):
        if run.state == "finished":
            scores.setdefault(run.trial, []).append(run.score or 0.0)
    found: OutOfFold | None = None
    runners: tuple[RunnerUp, ...] = ()
    try:
        if exams and (table := predictions.place(folder, exams[0].row.number)).is_file():
            found = predictions.read(table)
        runners = tuple(runners_up(folder, [one.row.number for one in exams]))
    except Failure as failure:
        odd.append(str(failure))
    facts = Facts(
        folder=folder,
        asked=asked,
        space=_space(folder, asked),
        study=None if known["study"] is None else StudyFacts.from_json(known["study"]),
        session=session,
        state=state,
        since=since,
        rows=rows,
        reached={trial: score for trial, _, _, score in glance.rungs()},
        scores={trial: tuple(found) for trial, found in scores.items()},
        spent=sum(run.epochs for run in runs if run.trial in counted),
        full=len(counted) * whole,
        seconds=sum(max(0.0, run.heard - run.started) for run in runs),
        exams=tuple(exams),
        odd=tuple(odd),
        found=found,
        runners=runners,
        curves=(),
        mixed=mixed,
        classes=tuple(clips["classes"]),
        label_N=np.asarray(clips["labels"], dtype=np.int64),
        source_N=np.asarray(clips["sources"], dtype=np.int64),
    )
    return facts if facts.winner is None else replace(facts, curves=_curves(glance, facts.winner.number))


def _space(folder: Path, asked: Mapping[str, Any]) -> Space | None:
    """The space of a study with the knobs that were fixed for it; a report can do without."""
    try:
        space = load(folder / "space.yaml")
        for knob, value in (asked.get("fixed") or {}).items():
            space = fix(space, knob, value)
    except (OSError, ValueError):
        return None
    return space


def _exams(
    glance: Glance, folder: Path, rows: Mapping[int, TrialRow], mixed: Sequence[Mapping[str, Any]]
) -> tuple[list[Examined], list[str]]:
    """The exams, best objective first, and what is wrong with others."""
    found, odd = [], []
    changed = max((change["time"] for change in mixed), default=0.0)
    for number, record in glance.exams().items():
        try:
            exam = Exam.from_json(json.dumps(record["exam"]))
        except ValueError as error:
            odd.append(f"the exam of trial {number} cannot be read and is not shown: {error}")
            continue
        if record["time"] <= changed:
            odd.append(f"the exam of trial {number} is older than a change of data or code and is not shown")
            continue
        row = rows[number]
        trained = replace(row, values=record.get("values", row.values))
        confusion_KK = np.asarray(record["confusion"], dtype=np.int64)
        found.append(Examined(trained, exam, confusion_KK, record.get("stop_after", 0)))
    found.sort(key=lambda one: (-one.exam.validation, one.row.number))
    kept: list[Examined] = []
    for one in found:
        try:
            comparable(found[0].exam, one.exam)
            kept.append(one)
        except ValueError as error:
            odd.append(f"trial {one.row.number} is not shown: {error}")
    return kept, odd


def _curves(glance: Glance, trial: int) -> tuple[Curve, ...]:
    curves = []
    for fold in glance.folds(trial, "search"):
        if fold.state == "finished":
            epochs = [metrics for _, metrics, _ in glance.epochs(fold.key)]
            columns = {
                name: np.array([epoch.get(name, np.nan) for epoch in epochs], float) for name in CURVES
            }
            curves.append(Curve(fold.split, **columns))
    return tuple(curves)
