"""Where a search stands, followed through its ledger: read once as a whole, then only what has changed."""

import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .glance import Glance, Run
from .ledger import ENDED, TrialRow
from .objectives import parse, worth

FACTS = ("state", "asked", "front", "stop", "clips", "page")
COUNTED = ("complete", "pruned")  # trials that a full search would have trained to the end
ENOUGH = 2  # ended trials before anybody says how long the rest will take


@dataclass(frozen=True)
class UnderWay:
    """A trial that somebody trains."""

    row: TrialRow
    split: int | None  # that is trained; None before its first report
    place: int  # of that split in their order, from 1
    epoch: int  # reported of that split; 0: none yet
    accuracy: float | None  # validation accuracy of that epoch
    scores: tuple[float, ...]  # of its whole splits
    heard: float  # when it was last heard of, seconds since 1970


@dataclass(frozen=True)
class Standing:
    """Where a search stood at one moment. What was never recorded is None."""

    moment: float  # seconds since 1970
    state: str  # running | searched | done | interrupted
    since: float  # seconds since 1970
    asked: Mapping[str, Any]  # the fact of that name: trials, hours, workers, epochs, splits, objectives ...
    rows: Mapping[int, TrialRow]
    scores: Mapping[int, tuple[float, ...]]  # trial -> accuracies of its whole splits, in their order
    running: tuple[UnderWay, ...]  # by number
    best: TrialRow | None  # the complete trial with the highest objective
    interval: (
        tuple[float, float] | None
    )  # of its objective: 95 %, bootstrap over sources of the validation clips
    spent: int  # epochs of trials that are complete or pruned
    full: int | None  # that these would have taken without pruning
    eta: float | None  # seconds until the search has ended
    backlog: int  # changes that wait for MLflow
    front: Mapping[
        int, tuple[float, ...]
    ]  # trials on the Pareto front, and what they are worth; {} with one objective
    began: float  # of this session, seconds since 1970
    stopping: bool  # somebody asked it to stop
    page: Mapping[str, str] | None  # tracking URI and number of the experiment where MLflow shows it

    @property
    def counts(self) -> Counter[str]:
        """Number of trials by state."""
        return Counter(row.state for row in self.rows.values())

    @property
    def ended(self) -> int:
        """Number of trials that have ended."""
        return sum(row.state in ENDED for row in self.rows.values())

    @property
    def saved(self) -> float | None:
        """Share of the epochs that pruning has saved so far; None before any trial could be pruned."""
        return 1 - self.spent / self.full if self.full else None

    @property
    def splits(self) -> int | None:
        """Number of splits of a trial."""
        return len(self.asked["splits"]) if self.asked else None

    @property
    def epochs(self) -> int | None:
        """Epochs of a split."""
        return self.asked["epochs"] if self.asked else None

    @property
    def objectives(self) -> tuple[str, ...]:
        """What the search looks for, as in `--objective`."""
        return tuple(self.asked.get("objectives") or ("accuracy",))


@dataclass
class _Trial:
    """What is remembered of a trial between two looks."""

    row: TrialRow
    runs: dict[str, Run] = field(default_factory=dict)
    now: tuple[int, float | None] = (0, None)  # epoch and accuracy of the running split
    heard: float = 0.0
    scores: tuple[float, ...] = ()
    spent: int = 0  # epochs
    fresh: int = 0  # of these, in this session

    def sum_up(self, order: Mapping[int, int], began: float) -> None:
        """Scores and epochs by its fold runs, without those that were cut off or have become stale."""
        runs = [run for run in self.runs.values() if run.state in ("finished", "stopped", "running")]
        runs.sort(key=lambda run: order.get(run.split, run.split))
        self.scores = tuple(run.score or 0.0 for run in runs if run.state == "finished")
        self.spent = sum(run.epochs for run in runs)
        self.fresh = sum(run.epochs for run in runs if run.started >= began)


class Follower:
    """Follows one search. reader: whose backlog is told (the tracking URI)."""

    def __init__(self, ledger: Glance, reader: str) -> None:
        self._ledger, self._reader = ledger, reader
        self._trials: dict[int, _Trial] = {}
        self._last = -1  # change that was seen
        self._facts: dict[str, Any] = {}
        self._order: dict[int, int] = {}  # split -> its place, from 1
        self._began = 0.0  # of this session, seconds since 1970
        self._interval: tuple[tuple[int, float | None], tuple[float, float] | None] = ((-1, None), None)

    def read(self, moment: float | None = None) -> Standing:
        """Where the search stands. moment: the present, in seconds since 1970."""
        with self._ledger.moment():
            last = self._ledger.last_change()
            if self._last < 0:
                self._read_all()
            elif last > self._last:
                self._read_changes()
            self._last = last
            return self._standing(time.time() if moment is None else moment)

    def _read_all(self) -> None:
        self._read_facts()
        self._trials = {row.number: _Trial(row) for row in self._ledger.trials()}
        for run in self._ledger.runs():
            self._take_run(run)
        self._sum_up(self._trials)

    def _read_changes(self) -> None:
        runs: dict[str, None] = {}
        for change in self._ledger.changes_since(self._last):
            if change.kind == "trial":
                row = self._ledger.trial(int(change.key))
                self._trials.setdefault(row.number, _Trial(row)).row = row
            elif change.kind in ("fold", "epoch"):
                runs[change.key.partition(":")[0]] = None
            elif change.kind == "study" and self._read_facts():
                self._sum_up(self._trials)
        for key in runs:
            for run in self._ledger.runs(key):  # none for one of an exam
                self._take_run(run)
                self._sum_up([run.trial])

    def _read_facts(self) -> bool:
        """Whether another session has begun."""
        before = self._facts
        self._facts = self._ledger.facts(*FACTS)
        asked = self._facts["asked"] or {}
        self._order = {split: place for place, split in enumerate(asked.get("splits") or (), start=1)}
        self._began = asked.get("began", self._ledger.began)
        if before.get("clips") != self._facts["clips"]:
            self._interval = ((-1, None), None)
        return before.get("asked") != self._facts["asked"]

    def _take_run(self, run: Run) -> None:
        trial = self._trials[run.trial]
        trial.runs[run.key] = run
        trial.heard = max(trial.heard, run.heard)
        if run.state == "running" and run.epochs:
            metrics, trial.heard = self._ledger.epoch(run.key, run.epochs)
            trial.now = run.epochs, metrics.get("valid_accuracy")

    def _sum_up(self, trials: Iterable[int]) -> None:
        for number in trials:
            self._trials[number].sum_up(self._order, self._began)

    # what follows from it

    def _standing(self, moment: float) -> Standing:
        asked, trials = self._facts["asked"] or {}, self._trials.values()
        rows = {number: trial.row for number, trial in self._trials.items()}
        state, since = self._facts["state"] or ("running", self._ledger.began)
        complete = [row for row in rows.values() if row.objective is not None]
        best = max(complete, key=lambda row: (row.objective or 0.0, -row.number), default=None)
        counted = [trial for trial in trials if trial.row.state in COUNTED]
        whole = len(self._order) * asked["epochs"] if asked else None
        return Standing(
            moment,
            state,
            since,
            asked,
            rows,
            {number: trial.scores for number, trial in self._trials.items()},
            tuple(self._under_way(trial) for trial in trials if trial.row.state == "running"),
            best,
            self._best_interval(best),
            spent=sum(trial.spent for trial in counted),
            full=None if whole is None else len(counted) * whole,
            eta=self._eta(asked, whole, moment) if state == "running" and whole else None,
            backlog=self._ledger.backlog(self._reader),
            front=self._front(),
            began=self._began,
            stopping=bool(self._facts["stop"]),
            page=self._facts["page"],
        )

    def _under_way(self, trial: _Trial) -> UnderWay:
        running = next((run for run in trial.runs.values() if run.state == "running"), None)
        heard = max(trial.heard, trial.row.started, self._began)
        if running is None:  # before the first report of a split
            return UnderWay(trial.row, None, len(trial.scores) + 1, 0, None, trial.scores, heard)
        place = self._order.get(running.split, running.split)
        return UnderWay(trial.row, running.split, place, *trial.now, trial.scores, heard)

    def _eta(self, asked: Mapping[str, Any], whole: int, moment: float) -> float | None:
        trials, hours = self._trials.values(), asked.get("hours")
        return seconds_left(
            [trial.spent for trial in trials if trial.row.state in ENDED],
            [trial.spent for trial in trials if trial.row.state not in ENDED],
            max(0, asked["trials"] - len(trials)),
            whole,
            sum(trial.fresh for trial in trials) / max(moment - self._began, 1e-3),
            None if hours is None else self._began + 3600 * hours - moment,
        )

    def _front(self) -> dict[int, tuple[float, ...]]:
        if not self._facts["front"]:
            return {}
        objectives = parse(",".join(self._facts["asked"]["objectives"]))
        found = {}
        for number in self._facts["front"]:
            row, loss = self._trials[number].row, self._ledger.mean_loss(number)
            found[number] = worth(objectives, row.objective or 0.0, loss, row.costs)
        return found

    def _best_interval(self, best: TrialRow | None) -> tuple[float, float] | None:
        if best is None or self._facts["clips"] is None:
            return None
        judged = (best.number, best.objective)
        if self._interval[0] != judged:
            self._interval = (judged, self._compute_interval(best.number))
        return self._interval[1]

    def _compute_interval(self, trial: int) -> tuple[float, float] | None:
        from escmodels.evidence import bootstrap_interval

        clips, parts = self._facts["clips"], []
        label_N, source_N = np.asarray(clips["labels"]), np.asarray(clips["sources"])
        for fold in self._ledger.folds(trial, "search"):
            if fold.state == "finished":
                row_V = np.asarray(clips["valid"].get(str(fold.split), ()), dtype=np.int64)
                class_V = np.frombuffer(fold.predictions or b"", np.int16)
                if len(class_V) != len(row_V) or not len(row_V):
                    return None  # judged on data that have changed since
                right_V = class_V == label_N[row_V]
                if abs(right_V.mean() - (fold.score or 0.0)) > 1e-6:
                    return None  # likewise
                parts.append((right_V, source_N[row_V], np.full(len(row_V), 1 / len(row_V))))
        right_N, of_N, weight_N = (np.concatenate(column) for column in zip(*parts, strict=True))
        return bootstrap_interval(right_N, of_N, weight_N=weight_N)


def seconds_left(
    ended: Sequence[int],
    begun: Sequence[int],
    unbegun: int,
    whole: int,
    pace: float,
    limit: float | None,
) -> float | None:
    """How long a search will still take; None before `ENOUGH` trials have ended or anything was trained.

    ended, begun: epochs spent by each trial that has ended, or not yet; unbegun: number of trials to come;
    whole: epochs of a trial that is not pruned; pace: epochs a second of all workers together;
    limit: seconds until no new trial is begun. A trial under way is expected to take as long as those that have
    ended later than where it stands, one to come as long as all.
    """
    if len(ended) < ENOUGH or pace <= 0:
        return None
    ordered = sorted(ended)
    rest = 0.0
    for spent in begun:
        longer = ordered[bisect_right(ordered, spent) :] or [whole]
        rest += max(0.0, sum(longer) / len(longer) - spent)
    seconds = (rest + unbegun * sum(ordered) / len(ordered)) / pace
    return seconds if limit is None else min(seconds, max(0.0, limit) + rest / pace)
