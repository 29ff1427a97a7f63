"""The projection of the ledger into a tracker: one writer, in batches, as often repeated as it takes.

    study run > trial runs > fold runs          (search)
    study run > exam run of a finalist > fold runs    (exam)

The projector reads the ledger's outbox, brings what it names up to date in the tracker, and only then
acknowledges. When the tracker is away, the outbox waits.
"""

import dataclasses
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .figures import confusion_png, curves_png
from .ledger import Change, FoldRow, Ledger, TrialRow
from .tracker import Point, Tracker, TrackerDown, TrackerRefused

STUDY_STATUS = {"running": "RUNNING", "searched": "FINISHED", "done": "FINISHED", "interrupted": "KILLED"}
TRIAL_STATUS = {
    "running": "RUNNING",
    "waiting": "SCHEDULED",
    "complete": "FINISHED",
    "pruned": "KILLED",
    "failed": "FAILED",
}
FOLD_STATUS = {"running": "RUNNING", "finished": "FINISHED", "stopped": "KILLED"}


@dataclass(frozen=True)
class StudyFacts:
    """What the runs of a study have in common."""

    id: str  # of its ledger
    name: str
    data_name: str
    data: str  # fingerprint
    protocol: str
    splits: Mapping[int, Mapping[str, Any]]  # split -> its folds, as in splits.json
    order: tuple[int, ...]
    synthetic: bool
    params: Mapping[str, object]  # settings that never change
    limits: Mapping[str, object]  # settings that may change when it is resumed

    def to_json(self) -> dict[str, Any]:
        """As it is kept in the ledger."""
        return dataclasses.asdict(self) | {
            "splits": [[number, dict(folds)] for number, folds in self.splits.items()]
        }

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> "StudyFacts":
        """What `to_json` made."""
        return cls(**{**kept, "splits": dict(kept["splits"]), "order": tuple(kept["order"])})


def study_key(study: StudyFacts) -> str:
    """The key of the study's run."""
    return f"{study.name}@{study.id}"


class Projector:
    """Brings one ledger into one tracker. Lives in one thread, with a ledger connection of its own."""

    def __init__(self, ledger: Ledger, tracker: Tracker, study: StudyFacts, reader: str) -> None:
        self._ledger, self._tracker, self._study, self._reader = ledger, tracker, study, reader
        self._root = study_key(study)
        self._opened: set[str] = set()
        self._drawn: set[str] = set()  # trials whose picture was sent
        self.refused: dict[str, str] = {}  # key -> why the tracker will never take it

    def catch_up(self) -> int:
        """Send everything that waits; the number of changes sent. Raises `TrackerDown`, losing nothing.

        What the tracker refuses for good is noted in `refused` and does not hold up the rest.
        """
        sent = 0
        while changes := self._ledger.changes(self._reader):
            self._send(changes)
            self._ledger.acknowledge(self._reader, changes[-1].id)
            sent += len(changes)
        return sent

    def _send(self, changes: list[Change]) -> None:
        kinds: dict[str, dict[str, None]] = {}
        for change in changes:
            kinds.setdefault(change.kind, {})[change.key] = None
        epochs: dict[str, set[int]] = {}
        for key in kinds.get("epoch", {}):
            fold, _, epoch = key.partition(":")
            epochs.setdefault(fold, set()).add(int(epoch))
        trials = {int(key): None for key in kinds.get("trial", {})}
        self._try(self._root, self._open_study, "study" in kinds)
        for key in dict.fromkeys([*kinds.get("fold", {}), *epochs]):
            if (row := self._ledger.fold(key)) is not None:
                changed = key in kinds.get("fold", {})
                self._try(key, self._fold, row, epochs.get(key, set()), changed)
                if row.phase == "search" and changed:
                    trials[row.trial] = None  # its running mean has changed
        for number in trials:
            self._try(f"t{number:03d}", self._trial, self._ledger.trial(number))
        for name in kinds.get("exam", {}):
            self._try(name, self._exam, int(name.removeprefix("exam/")))

    def _try(self, key: str, send: Callable[..., None], *facts: Any) -> None:
        try:
            send(*facts)
        except TrackerRefused as error:
            self.refused[key] = str(error)

    def _open_study(self, changed: bool) -> None:
        if self._root in self._opened and not changed:
            return
        study = self._study
        state, since = self._ledger.state
        tags = {
            "esc.level": "study",
            "esc.state": state,
            "study": study.name,
            "protocol": study.protocol,
            "data": study.data_name,
            "data.fingerprint": study.data,
            "data.synthetic": str(study.synthetic).lower(),
        }
        tags |= {f"limit.{name}": str(value) for name, value in study.limits.items()}
        began = _milliseconds(self._ledger.began)
        self._tracker.open(self._root, study.name, None, tags, study.params, began)
        self._tracker.mark(self._root, STUDY_STATUS[state], _milliseconds(since))
        self._opened.add(self._root)

    # trials

    def _trial_key(self, number: int) -> str:
        return f"{self._root}/t{number:03d}"

    def _trial(self, row: TrialRow) -> None:
        key = self._trial_key(row.number)
        ended = f" {row.state}" if row.state in ("pruned", "failed") else ""
        worth = ended if row.objective is None else f" {row.objective:.3f}"
        name = (
            f"t{row.number:03d} {row.values.get('architecture', '')}".strip() + worth
        )  # lists show names only
        tags = {
            "esc.level": "trial",
            "esc.state": row.state,
            "study": self._study.name,
            "trial": str(row.number),
            "phase": "search",
            "protocol": self._study.protocol,
        }
        if row.reason:
            tags["esc.reason"] = row.reason
        self._tracker.open(key, name, self._root, tags, row.values, _milliseconds(row.started))
        self._opened.add(key)
        points = self._trial_points(row)
        if points:
            self._tracker.log(key, points)
        self._tracker.mark(key, TRIAL_STATUS[row.state], _milliseconds(row.ended or row.started))
        if row.state == "complete" and key not in self._drawn:
            curves = {fold.split: self._curve(fold.key) for fold in self._finished(row.number)}
            self._tracker.attach(key, "curves.png", curves_png(curves, name))
            self._drawn.add(key)

    def _trial_points(self, row: TrialRow) -> list[Point]:
        points, scores = [], []
        for fold in self._finished(row.number):
            assert fold.score is not None and fold.ended is not None
            scores.append(fold.score)
            step, moment = len(scores), _milliseconds(fold.ended)
            points.append(Point("mean_valid_accuracy", sum(scores) / step, step, moment))
            points.append(Point("splits_done", step, step, moment))
        if row.objective is not None and row.ended is not None:
            points.append(Point("objective", row.objective, len(scores), _milliseconds(row.ended)))
        return points

    def _finished(self, trial: int) -> list[FoldRow]:
        """Finished fold runs of the search in the order of the study's splits."""
        done = {f.split: f for f in self._ledger.folds(trial, "search") if f.state == "finished"}
        return [done[split] for split in self._study.order if split in done]

    def _curve(self, fold: str) -> list[float]:
        return [metrics["valid_accuracy"] for _, metrics, _ in self._ledger.epochs(fold)]

    # fold runs

    def _fold_key(self, fold: FoldRow, attempt: int) -> str:
        if fold.phase == "exam":
            return f"{self._root}/exam/t{fold.trial:03d}/s{fold.split}/r{fold.seed}"
        return f"{self._trial_key(fold.trial)}/s{fold.split}/a{attempt}"

    def _fold(self, fold: FoldRow, epochs: set[int], changed: bool) -> None:
        for attempt in range(1, fold.attempt if changed else 1):
            self._tracker.drop(self._fold_key(fold, attempt))
        if fold.state == "cut":
            return
        key = self._fold_key(fold, fold.attempt)
        if changed or key not in self._opened:
            self._open_fold(fold, key)
        points = self._epoch_points(fold, epochs)
        if fold.state == "finished" and fold.phase == "exam":
            points += self._exam_points(fold)
        if points:
            self._tracker.log(key, points)
        if fold.ended is not None:
            self._tracker.mark(key, FOLD_STATUS[fold.state], _milliseconds(fold.ended))

    def _open_fold(self, fold: FoldRow, key: str) -> None:
        if fold.phase == "exam":
            parent = self._open_exam(fold.trial)
        else:
            parent = self._trial_key(fold.trial)
            if parent not in self._opened:
                self._trial(self._ledger.trial(fold.trial))
        folds = self._study.splits[fold.split]
        tags = {
            "esc.level": "fold",
            "esc.state": fold.state,
            "study": self._study.name,
            "trial": str(fold.trial),
            "split": str(fold.split),
            "phase": fold.phase,
            "protocol": self._study.protocol,
            "seed": str(fold.seed),
            "fold.valid" if fold.phase == "search" else "fold.test": str(
                folds["valid_fold"] if fold.phase == "search" else folds["test_fold"]
            ),
        }
        name = f"t{fold.trial:03d} {'split' if fold.phase == 'search' else 'test fold'} {fold.split}"
        self._tracker.open(key, name, parent, tags, {}, _milliseconds(fold.started))
        self._opened.add(key)

    def _epoch_points(self, fold: FoldRow, epochs: set[int]) -> list[Point]:
        return [
            Point(metric, value, epoch, _milliseconds(moment))
            for epoch, metrics, moment in self._ledger.epochs(fold.key)
            if epoch in epochs
            for metric, value in metrics.items()
        ]

    def _exam_points(self, fold: FoldRow) -> list[Point]:
        assert fold.score is not None and fold.loss is not None and fold.ended is not None
        moment = _milliseconds(fold.ended)
        return [
            Point("test_accuracy", fold.score, fold.epochs, moment),
            Point("test_loss", fold.loss, fold.epochs, moment),
        ]

    # exam

    def _open_exam(self, trial: int) -> str:
        key = f"{self._root}/exam/t{trial:03d}"
        if key not in self._opened:
            row = self._ledger.trial(trial)
            tags = {
                "esc.level": "exam",
                "study": self._study.name,
                "trial": str(trial),
                "phase": "exam",
                "protocol": self._study.protocol,
            }
            began = min(fold.started for fold in self._ledger.folds(trial, "exam"))
            name = self._exam_name(trial)
            values = self._ledger.fact(f"settled/{trial}", row.values)
            self._tracker.open(key, name, self._root, tags, values, _milliseconds(began))
            self._opened.add(key)
        return key

    def _exam_name(self, trial: int) -> str:
        return f"exam t{trial:03d} {self._ledger.trial(trial).values.get('architecture', '')}".strip()

    def _exam(self, trial: int) -> None:
        key = self._open_exam(trial)
        record = self._ledger.fact(f"exam/{trial}")
        exam, moment = record["exam"], int(record["time"] * 1000)
        figure = f"{exam['mean']:.3f} [{exam['low']:.3f}, {exam['high']:.3f}]"
        self._tracker.open(key, f"{self._exam_name(trial)} {figure}", self._root, {}, {}, moment)
        figures = {
            "test_accuracy": exam["mean"],
            "test_accuracy_low": exam["low"],
            "test_accuracy_high": exam["high"],
            "test_macro_f1": exam["macro_f1"],
            "objective": exam["validation"],
            "optimism_gap": exam["validation"] - exam["mean"],
        }
        self._tracker.log(key, [Point(name, value, 0, moment) for name, value in figures.items()])
        self._tracker.attach(
            key,
            "confusion.png",
            confusion_png(record["confusion"], record["classes"], "test folds, out of fold"),
        )
        self._tracker.mark(key, "FINISHED", moment)


def _milliseconds(moment: float) -> int:
    return int(moment * 1000)


class ProjectorThread:
    """Runs a projector beside a study, the one writer to the tracker. The tracker may come late, go, come back.

    connect: builds the tracker, in the thread (importing MLflow and creating its database take seconds).
    pause: seconds between two looks at the outbox, five times that while the tracker is away.
    """

    def __init__(
        self,
        path: Path,
        connect: Callable[[], Tracker],
        study: StudyFacts,
        reader: str,
        *,
        say: Callable[[str], None],
        pause: float = 1.0,
    ) -> None:
        self._path, self._connect, self._study, self._reader = path, connect, study, reader
        self._say, self._pause = say, pause
        self._end = False
        self._asked = self._served = 0  # passes over the outbox
        self._turn = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="projector", daemon=True)
        self.trouble: str | None = None  # why changes wait at present

    def start(self) -> None:
        """Begin; calling it again does nothing."""
        if self._thread.ident is None:
            self._thread.start()

    def drain(self, seconds: float) -> int:
        """Wait until the outbox was gone through once more; the number of changes that still wait."""
        self.start()
        with self._turn:
            self._asked += 1
            wanted = self._asked
            self._turn.notify_all()
            self._turn.wait_for(lambda: self._served >= wanted, seconds)
        ledger = Ledger(self._path)
        try:
            return ledger.backlog(self._reader)
        finally:
            ledger.close()

    def finish(self, seconds: float) -> int:
        """Drain a last time and end the thread; the number of changes that still wait."""
        self._end = True
        left = self.drain(seconds)
        self._thread.join(seconds)
        return left

    def _run(self) -> None:
        ledger = Ledger(self._path)
        projector = None
        told: set[str] = set()
        try:
            while True:
                asked, last = self._asked, self._end
                try:
                    projector = projector or Projector(ledger, self._connect(), self._study, self._reader)
                    projector.catch_up()
                    self._note(None)
                    for key in projector.refused.keys() - told:
                        told.add(key)
                        self._say(f"MLflow does not take {key}: {projector.refused[key]}")
                except TrackerDown as error:
                    self._note(f"MLflow is away ({error})")
                except Exception as error:  # a bug here must not end a search; the outbox waits
                    self._note(f"sending to MLflow failed ({type(error).__name__}: {error})")
                with self._turn:
                    self._served = asked
                    self._turn.notify_all()
                    if last:
                        return
                    pause = self._pause if self.trouble is None else 5 * self._pause
                    self._turn.wait_for(lambda asked=asked: self._asked > asked, pause)  # type: ignore[misc]
        finally:
            ledger.close()

    def _note(self, trouble: str | None) -> None:
        """Say once when sending begins to fail, and once when it works again."""
        if trouble and not self.trouble:
            self._say(f"{trouble}; the search goes on and the ledger keeps everything")
        elif self.trouble and not trouble:
            self._say("MLflow is back, the backlog was sent")
        self.trouble = trouble
