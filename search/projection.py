"""The projection of the ledger into a tracker: one writer, in batches, as often repeated as it takes.

    study run > trial runs > fold runs          (search)
    study run > exam run of a finalist > fold runs    (exam)

The projector reads the ledger's outbox, brings what it names up to date in the tracker, and only then
acknowledges. When the tracker is away, the outbox waits. What was being sent when it went away is in doubt
(it may be executed all the same, even later): it is noted in the ledger, and settled once the tracker is back.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .ledger import Change, FoldRow, Ledger, TrialRow
from .predictions import place
from .tracker import Point, Tracker, TrackerDown, TrackerRefused

STUDY_STATUS = {"running": "RUNNING", "searched": "FINISHED", "done": "FINISHED", "interrupted": "KILLED"}
TRIAL_STATUS = {
    "running": "RUNNING",
    "waiting": "SCHEDULED",
    "queued": "SCHEDULED",
    "complete": "FINISHED",
    "pruned": "KILLED",
    "failed": "FAILED",
    "infeasible": "FAILED",
}
FOLD_STATUS = {"running": "RUNNING", "finished": "FINISHED", "stopped": "KILLED", "stale": "KILLED"}
BATCH = (
    2000  # changes at once: the epochs of a fold run then go in one request when there is much to catch up
)
REPORT, PICTURES = "report.html", "report"  # in the study's folder: the page, and its charts as files
DRAWN = 5  # trials whose learning curves are drawn, best first, when the search is over
Doubt = tuple[str, str]  # kind and key of a change that was being sent when the tracker went away


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
    changing: Mapping[str, object] = field(default_factory=dict)  # tag -> what else may change then

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
    """Brings one ledger into one tracker. Lives in one thread, with a ledger connection of its own.

    heard: called whenever the tracker has taken something.
    """

    def __init__(
        self,
        ledger: Ledger,
        tracker: Tracker,
        study: StudyFacts,
        reader: str,
        heard: Callable[[], None] = lambda: None,
    ) -> None:
        self._ledger, self._tracker, self._study, self._reader = ledger, tracker, study, reader
        self._heard = heard
        self._root = study_key(study)
        self._opened: set[str] = set()
        self._dropped: set[str] = set()
        self._logged: dict[int, set[Point]] = {}  # trial that goes on -> points it has in the tracker
        self._drawn: set[int] = set()  # trials whose picture was sent
        self.again = self._begin_again()  # the tracker lost what it had been sent
        self._front: list[int] | None = ledger.fact(self._front_name)  # as the tracker has it
        self.refused: dict[str, str] = {}  # key -> why the tracker will never take it
        self._sent: dict[Doubt, int] = {}  # what of an unfinished batch has arrived -> its last change
        self._settled: set[str] = set()  # runs, of a settlement that is not through
        self.doubts: dict[Doubt, None] = dict.fromkeys(read_doubts(ledger, reader))
        self.sending: Doubt | None = None
        self.abandoned = False  # nobody waits any more: send nothing new

    @property
    def _front_name(self) -> str:
        return f"sent-front/{self._reader}"

    def _begin_again(self) -> bool:
        """Whether the store is another one than the cursor was made with: it then gets everything from the start."""
        name, store = f"store/{self._reader}", self._tracker.store
        known = self._ledger.fact(name)
        if known == store:
            return False
        with self._ledger.transaction():
            self._ledger.keep(name, store)
            if known is None:  # the first time
                return False
            self._ledger.acknowledge(self._reader, 0)
            self._ledger.keep(self._front_name, None)
        return True

    def catch_up(self) -> int:
        """Send everything that waits; the number of changes sent. Raises `TrackerDown`, losing nothing.

        What the tracker refuses for good is noted in `refused` and does not hold up the rest.
        """
        sent = 0
        while changes := self._ledger.changes(self._reader, BATCH):
            self._send(changes)
            self._ledger.acknowledge(self._reader, changes[-1].id)
            self._sent.clear()
            sent += len(changes)
        return sent

    def settle(self, *, keep: bool = False) -> None:
        """Remove doubles of what is in doubt and send it again. Raises `TrackerDown`; it is then still in doubt.

        keep: it may be too early, because the tracker came back a moment ago: settle it once more later.
        """
        settled = []
        try:
            for kind, key in list(self.doubts):
                self._try(kind, key, self._settle, kind, key)
                settled.append((kind, key))
                self._settled.clear()
        finally:
            if settled and not keep:
                for doubt in settled:
                    del self.doubts[doubt]
                write_doubts(self._ledger, self._reader, list(self.doubts))
        self.catch_up()

    def _settle(self, kind: str, key: str) -> None:
        fold = self._ledger.fold(key) if kind == "fold" else None
        trial = fold.trial if fold else int(key) if kind == "trial" else None
        keys = [self._root]
        if kind == "exam" or (fold and fold.phase == "exam"):
            keys.append(self._exam_key(fold.trial if fold else int(key.removeprefix("exam/"))))
        elif trial is not None:
            keys.append(self._trial_key(trial))
            self._logged.pop(trial, None)
        if fold:
            keys += [self._fold_key(fold, attempt) for attempt in range(1, fold.attempt + 1)]
        for run in keys:
            if run not in self._settled:
                self._tracker.settle(run)
                self._settled.add(run)
            self._opened.discard(run)
            self._dropped.discard(run)
        self._open_study(True)
        if fold:
            self._fold(fold, {epoch for epoch, *_ in self._ledger.epochs(fold.key)}, True)
        if fold is None and trial is not None:
            self._trial(self._ledger.trial(trial))
        if kind == "exam":
            self._exam(int(key.removeprefix("exam/")))
        if kind == "report":
            self._report()

    def _send(self, changes: list[Change]) -> None:
        """Each thing once, in its present state, however many of the changes are about it."""
        last: dict[Doubt, int] = {}
        epochs: dict[str, set[int]] = {}
        changed: set[str] = set()  # folds
        for change in changes:
            kind, key = change.kind, change.key
            if kind == "epoch":
                kind, (key, _, epoch) = "fold", key.partition(":")
                epochs.setdefault(key, set()).add(int(epoch))
            elif kind == "fold":
                changed.add(key)
            last[kind, self._root if kind == "study" else key] = change.id
        by_kind = {kind: [key for one, key in last if one == kind] for kind in ("fold", "exam")}
        told = ("study", self._root) in last
        self._once(last, "study", self._root, self._open_study, told)
        for key in by_kind["fold"]:
            if (fold := self._ledger.fold(key)) is not None:
                self._once(last, "fold", key, self._fold, fold, epochs.get(key, set()), key in changed)
                if fold.phase == "search" and key in changed and fold.state != "running":
                    trial = ("trial", str(fold.trial))  # its running mean has changed
                    last[trial] = max(last.get(trial, 0), last["fold", key])
        front = self._ledger.fact("front")
        for number in self._moved(front):
            last["trial", str(number)] = changes[-1].id
        for key in [key for kind, key in last if kind == "trial"]:
            self._once(last, "trial", key, self._trial, self._ledger.trial(int(key)))
        if front != self._front:
            self._ledger.keep(self._front_name, front)
            self._front = front
        for name in by_kind["exam"]:
            self._once(last, "exam", name, self._exam, int(name.removeprefix("exam/")))
        if ("report", REPORT) in last:
            self._once(last, "report", REPORT, self._report)
        if told and self._ledger.state[0] != "running":
            for best in self._best():
                self._try("trial", str(best.number), self._draw, best)

    def _once(
        self, last: Mapping[Doubt, int], kind: str, key: str, send: Callable[..., None], *facts: Any
    ) -> None:
        """Send it unless it has arrived already: a tracker that fails now and then must see an end of a batch."""
        upto = last.get((kind, key), 0)
        if self._sent.get((kind, key), -1) < upto:
            self._try(kind, key, send, *facts)
            self._sent[kind, key] = upto

    def _try(self, kind: str, key: str, send: Callable[..., None], *facts: Any) -> None:
        if self.abandoned:
            raise TrackerDown("the study has ended")
        self.sending = (kind, key)
        try:
            send(*facts)
        except TrackerRefused as error:
            self.refused[f"t{int(key):03d}" if kind == "trial" else key] = str(error)
        except TrackerDown:
            if self.sending not in self.doubts:
                self.doubts[self.sending] = None
                write_doubts(self._ledger, self._reader, list(self.doubts))
            raise
        self.sending = None
        self._heard()

    def _moved(self, front: list[int] | None) -> list[int]:
        """Trials that have come to the front or left it since the tracker was told."""
        if front is None or front == self._front:
            return []
        if self._front is None:
            return [row.number for row in self._ledger.trials()]
        return sorted(set(front) ^ set(self._front))

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
        tags |= {name: str(value) for name, value in study.changing.items()}
        if (front := self._ledger.fact("front")) is not None:
            tags["front"] = ",".join(map(str, front))
        if mixed := self._ledger.fact("mixed"):
            tags["mixed"] = "; ".join(f"{item['what']} {item['before']} -> {item['now']}" for item in mixed)
        if (warm := self._ledger.fact("warm")) and warm["study"]:
            tags["warm.start"] = warm["study"]
        began = _milliseconds(self._ledger.began)
        self._tracker.open(self._root, study.name, None, tags, {}, began)
        self._tracker.mark(self._root, STUDY_STATUS[state], _milliseconds(since))
        self._opened.add(self._root)
        # last: a param that is refused (older versions sent what may change as one) must hold up nothing
        self._tracker.open(self._root, study.name, None, {}, study.params, began)

    # trials

    def _trial_key(self, number: int) -> str:
        return f"{self._root}/t{number:03d}"

    def _trial(self, row: TrialRow) -> None:
        key = self._trial_key(row.number)
        ended = f" {row.state}" if row.state in ("pruned", "failed", "infeasible") else ""
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
        if row.rescue:
            tags["esc.rescue"] = json.dumps(row.rescue, sort_keys=True)
        if (front := self._ledger.fact("front")) is not None:
            tags["esc.front"] = str(row.number in front).lower()
        logged = self._logged.setdefault(row.number, set())
        points = [point for point in self._trial_points(row) if point not in logged]
        self._tracker.open(key, name, self._root, tags, row.values, _milliseconds(row.started), points)
        self._opened.add(key)
        logged.update(points)
        self._tracker.mark(key, TRIAL_STATUS[row.state], _milliseconds(row.ended or row.started))
        if row.ended is not None:
            del self._logged[row.number]

    def _best(self) -> list[TrialRow]:
        """Trials whose curves somebody will look at, and which have none yet."""
        rows = [row for row in self._ledger.trials("complete") if row.objective is not None]
        rows.sort(key=lambda row: (-(row.objective or 0.0), row.number))
        return [row for row in rows[:DRAWN] if row.number not in self._drawn]

    def _draw(self, row: TrialRow) -> None:
        from .figures import curves_png  # here, because matplotlib takes half a second of the start

        curves = {fold.split: self._curve(fold.key) for fold in self._finished(row.number)}
        picture = curves_png(curves, f"t{row.number:03d}")
        self._tracker.attach(self._trial_key(row.number), "curves.png", picture)
        self._drawn.add(row.number)

    def _trial_points(self, row: TrialRow) -> list[Point]:
        began = _milliseconds(row.started)
        points = [Point(name, value, 0, began) for name, value in row.costs.items()]
        scores: list[float] = []
        # what was sent of fold runs that count no more stays in the tracker: later steps take its place
        before = sum(fold.state == "stale" for fold in self._ledger.folds(row.number, "search"))
        for fold in self._finished(row.number):
            assert fold.score is not None and fold.ended is not None
            scores.append(fold.score)
            done, moment = len(scores), _milliseconds(fold.ended)
            points.append(Point("mean_valid_accuracy", sum(scores) / done, before + done, moment))
            points.append(Point("splits_done", done, before + done, moment))
        if row.objective is not None and row.ended is not None:
            points.append(Point("objective", row.objective, before + len(scores), _milliseconds(row.ended)))
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
            return f"{self._exam_key(fold.trial)}/s{fold.split}/r{fold.seed}/{fold.key}"
        # the ledger's key too, because a trial may train on a split again: with half a batch, or on other data
        return f"{self._trial_key(fold.trial)}/s{fold.split}/{fold.key}/a{attempt}"

    def _fold(self, fold: FoldRow, epochs: set[int], changed: bool) -> None:
        for earlier in (self._fold_key(fold, attempt) for attempt in range(1, fold.attempt)):
            if earlier not in self._dropped:
                self._tracker.drop(earlier)
                self._dropped.add(earlier)
        if fold.state == "cut":
            return
        points = self._epoch_points(fold, epochs)
        if fold.state == "finished" and fold.phase == "exam":
            points += self._exam_points(fold)
        key = self._fold_key(fold, fold.attempt)
        if changed or key not in self._opened:
            self._open_fold(fold, key, points)
        elif points:
            self._tracker.log(key, points)
        if fold.ended is not None and fold.state != "running":
            self._tracker.mark(key, FOLD_STATUS[fold.state], _milliseconds(fold.ended))

    def _open_fold(self, fold: FoldRow, key: str, points: list[Point]) -> None:
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
        self._tracker.open(key, name, parent, tags, {}, _milliseconds(fold.started), points)
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

    def _exam_key(self, trial: int) -> str:
        return f"{self._root}/exam/t{trial:03d}"

    def _open_exam(self, trial: int) -> str:
        key = self._exam_key(trial)
        if key not in self._opened:
            row = self._ledger.trial(trial)
            tags = {
                "esc.level": "exam",
                "study": self._study.name,
                "trial": str(trial),
                "phase": "exam",
                "protocol": self._study.protocol,
            }
            folds = self._ledger.folds(trial, "exam")
            shared = self._ledger.trial(trial).ended or 0.0  # all its trainings are another finalist's
            began = min((fold.started for fold in folds), default=shared)
            name = self._exam_name(trial)
            values = self._ledger.fact(f"settled/{trial}", row.values)
            self._tracker.open(key, name, self._root, tags, values, _milliseconds(began))
            self._opened.add(key)
        return key

    def _exam_name(self, trial: int) -> str:
        return f"exam t{trial:03d} {self._ledger.trial(trial).values.get('architecture', '')}".strip()

    def _exam(self, trial: int) -> None:
        from .figures import confusion_png

        key = self._open_exam(trial)
        record = self._ledger.fact(f"exam/{trial}")
        exam, moment = record["exam"], int(record["time"] * 1000)
        figure = f"{exam['mean']:.3f} [{exam['low']:.3f}, {exam['high']:.3f}]"
        points = [Point(name, value, 0, moment) for name, value in exam_metrics(exam).items()]
        name = f"{self._exam_name(trial)} {figure}"
        self._tracker.open(key, name, self._root, {}, {}, moment, points)
        self._tracker.attach(
            key,
            "confusion.png",
            confusion_png(record["confusion"], record["classes"], f"test folds, {seeds_of(exam)}"),
        )
        table = place(self._ledger.path.parent, trial)
        if table.exists():  # not of exams of older versions
            self._tracker.attach(key, "predictions.csv", table.read_bytes())
        self._tracker.mark(key, "FINISHED", moment)

    def _report(self) -> None:
        """The page and its pictures, at the run of the study."""
        self._open_study(False)
        folder = self._ledger.path.parent
        for path in (folder / REPORT, *sorted((folder / PICTURES).glob("*.svg"))):
            if path.is_file():
                self._tracker.attach(self._root, path.relative_to(folder).as_posix(), path.read_bytes())


def exam_metrics(exam: Mapping[str, Any]) -> dict[str, float]:
    """The figures of an exam as metrics of a run; an exam of an older version has fewer."""
    figures = {
        "test_accuracy": exam["mean"],
        "test_accuracy_low": exam["low"],
        "test_accuracy_high": exam["high"],
        "test_macro_f1": exam["macro_f1"],
        "test_log_loss": exam.get("log_loss"),
        "test_calibration_error": exam.get("calibration_error"),
        "test_top3": exam.get("top3"),
        "objective": exam["validation"],
        "optimism_gap": exam["validation"] - exam["mean"],
    }
    return {name: value for name, value in figures.items() if value is not None}


def seeds_of(exam: Mapping[str, Any]) -> str:
    """How often each clip stands in a confusion matrix."""
    count = len(exam["seeds"])
    return "out of fold" if count == 1 else f"out of fold, {count} seeds"


def _milliseconds(moment: float) -> int:
    return int(moment * 1000)


def read_doubts(ledger: Ledger, reader: str) -> list[Doubt]:
    """What was being sent to a reader when it went away, and has not been settled since."""
    return [(kind, key) for kind, key in ledger.fact(f"doubts/{reader}", [])]


def write_doubts(ledger: Ledger, reader: str, doubts: list[Doubt]) -> None:
    """Keep them for this session or the next."""
    ledger.keep(f"doubts/{reader}", doubts)
