"""A study with made-up results, and the real parts of a driver on it: for what would take weeks to train."""

import random
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from escmodels.clips import ClipSet
from escmodels.folds import SearchSplit
from search.conductor import Conductor, Limits
from search.ledger import Ledger
from search.objectives import ACCURACY
from search.projection import StudyFacts
from search.record import Record
from search.settings import Settings, resolve
from search.suggest import Proposer
from search.trial import Assignment, FoldResult, Plan, Report
from spaces.load import load
from spaces.space import complete as filled
from spaces.space import sample

TRIALS, SPLITS, EPOCHS, CLIPS, CLASSES = 2000, 5, 24, 2000, 50
PLAN = Plan(tuple(SearchSplit(number, (0,), (1,)) for number in range(1, SPLITS + 1)), EPOCHS, seed=0)
ANSWERS = {split.number: np.arange(CLIPS // SPLITS) % CLASSES for split in PLAN.splits}
METRICS = {"train_loss": 1.234567, "lr": 0.001234567, "seconds": 1.234567, "valid_loss": 1.234567}
DATA, CODE = "data", "code"  # fingerprints


def facts(name: str) -> StudyFacts:
    """What the runs of a made-up study have in common."""
    folds = {"train_folds": [1, 2, 3], "valid_fold": 4, "test_fold": 5}
    numbers = tuple(split.number for split in PLAN.splits)
    return StudyFacts(
        name, name, "made up", "data", "rotating", dict.fromkeys(numbers, folds), numbers, True, {}, {}
    )


def introduce(ledger: Ledger, name: str, workers: int) -> None:
    """The facts that a session writes at its beginning."""
    rows = np.arange(CLIPS).reshape(SPLITS, -1)
    ledger.write_fact("study", facts(name).to_json())
    ledger.write_fact(
        "clips",
        {
            "labels": np.concatenate(list(ANSWERS.values())).tolist(),
            "sources": (np.arange(CLIPS) // 2).tolist(),
            "classes": [f"class {number}" for number in range(CLASSES)],
            "valid": {str(number): rows[number - 1].tolist() for number in ANSWERS},
        },
    )
    asked: dict[str, Any] = {
        "trials": TRIALS,
        "hours": None,
        "workers": workers,
        "epochs": EPOCHS,
        "splits": list(ANSWERS),
    }
    asked |= {"objectives": ["accuracy"], "policy": {}, "began": time.time(), "host": "here", "pid": 1}
    ledger.write_fact("asked", asked)
    ledger.set_state("running")


class Made:
    """Reports of trainings that never were: each recipe has an accuracy of its own, reached bit by bit."""

    def __init__(self, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)
        self._worth: dict[int, float] = {}

    def report(self, trial: int, split: int, epoch: int) -> Report:
        """One epoch; with the last one of a split its result."""
        worth = self._worth.setdefault(trial, float(self._rng.beta(8, 4)))
        if epoch < EPOCHS:
            reached = worth * (1 - 0.7 ** (epoch + 1)) + self._rng.normal(0, 0.01)
            return Report(trial, split, epoch, METRICS | {"valid_accuracy": float(reached)})
        right = self._rng.random(CLIPS // SPLITS) < worth
        result = FoldResult(float(right.mean()), 1 - worth, self._answers(split, right), 1.0)
        return Report(trial, split, epoch, METRICS | {"valid_accuracy": result.score}, result)

    def _answers(self, split: int, right: np.ndarray) -> bytes:
        wrong = (ANSWERS[split] + 1) % CLASSES
        return np.where(right, ANSWERS[split], wrong).astype(np.int16).tobytes()

    def reports(self, assignment: Assignment) -> Iterator[Report]:
        """All that a worker reports of a trial."""
        for split in PLAN.splits:
            if split.number not in assignment.finished:
                for epoch in range(1, EPOCHS + 1):
                    yield self.report(assignment.trial, split.number, epoch)


def fill(folder: Path, trials: int, space: str = "esc50") -> Path:
    """A study of so many complete trials, and three that were examined. Its ledger."""
    folder.mkdir(parents=True)
    (folder / "study.yaml").write_text(yaml.safe_dump({"data": "made up", "space": space}))
    ledger = Ledger(folder / "ledger.sqlite", create=True)
    record, made = Record(ledger, PLAN, ACCURACY, ANSWERS, DATA, CODE), Made()
    introduce(ledger, folder.name, 64)
    chance, known = random.Random(0), load(space)
    points = [filled(known, default) for default in known.defaults]  # else they would be proposed first
    for number in range(trials):
        with ledger.transaction():
            ledger.open_trial(number, points[number] if number < len(points) else sample(known, chance))
            complete(ledger, record, number, made)
    for number in range(min(3, trials)):
        examine(ledger, number)
    ledger.set_state("interrupted")
    ledger.close()
    return ledger.path


def complete(ledger: Ledger, record: Record, number: int, made: Made) -> None:
    """Write all reports of a trial, and its end."""
    row, scores = ledger.trial(number), []
    for place, split in enumerate(PLAN.splits, start=1):
        key = record.key(row, split.number)
        for epoch in range(1, EPOCHS + 1):
            news = made.report(number, split.number, epoch)
            ledger.log_epoch(
                key, epoch, news.metrics, trial=number, phase="search", split=split.number, seed=0
            )
            if place == 1 and epoch == EPOCHS // 3:
                ledger.write_rung(number, 1, epoch, news.metrics["valid_accuracy"])
        assert news.result is not None
        ledger.finish_fold(
            key,
            score=news.result.score,
            loss=news.result.loss,
            epochs=EPOCHS,
            seconds=1.0,
            predictions=news.result.predictions,
        )
        scores.append(news.result.score)
        ledger.write_rung(number, place, EPOCHS, statistics.fmean(scores))
    ledger.close_trial(number, "complete", statistics.fmean(scores))


def examine(ledger: Ledger, number: int) -> None:
    """An exam of five folds, and its record."""
    for split in ANSWERS:
        ledger.record_exam_fold(
            f"exam-{number}-{split}",
            trial=number,
            split=split,
            seed=0,
            score=0.8,
            loss=0.7,
            epochs=EPOCHS,
            seconds=1.0,
            predictions=np.full((CLIPS // SPLITS, CLASSES), 1 / CLASSES, np.float32).tobytes(),
            losses=[1.0] * EPOCHS,
        )
    exam: dict[str, Any] = {
        "mean": 0.8,
        "low": 0.75,
        "high": 0.85,
        "macro_f1": 0.8,
        "validation": 0.82,
        "folds": [0.8] * 5,
    }
    exam |= {"protocol": "rotating", "data": DATA, "seeds": [0], "trials": TRIALS, "clips": CLIPS}
    record = {"exam": exam, "time": time.time(), "classes": list(map(str, range(CLASSES)))}
    record["confusion"] = np.eye(CLASSES, dtype=int).tolist()
    ledger.write_fact(f"exam/{number}", record, change="exam")


def resumed(
    ledger: Ledger, proposer: Proposer, trials: int, listen: Callable[[int], None] = lambda trial: None
) -> Conductor:
    """The conductor of a session on a ledger."""
    return Conductor(
        ledger, proposer, PLAN, Limits(trials), labels=ANSWERS, data=DATA, code=CODE, listen=listen
    )


def noise() -> tuple[ClipSet, dict[str, Any]]:
    """24 clips of half a second, and a recipe that is trained on them at once."""
    rng, length = np.random.default_rng(0), 4000
    rows = np.arange(24)
    samples = rng.integers(-5000, 5000, 24 * length).astype(np.int16)
    starts, lengths = rows * length, np.full(24, length)
    names = tuple(map(str, rows))
    clips = ClipSet(samples, starts, lengths, rows % 2, rows // 8, rows, names, ("one", "two"), 8000)
    recipe: dict[str, Any] = {
        "architecture": "mel_cnn",
        "model.width": 4,
        "model.blocks": 2,
        "data.sample_rate": 8000,
    }
    recipe |= {"data.crop": 0.5, "feature.n_fft": 256, "feature.hop": 128, "feature.n_mels": 16}
    return clips, recipe | {"optim.batch": 16}


def settings(home: Path) -> Settings:
    """Of a place of its own."""
    return resolve({"home": str(home)}, {})
