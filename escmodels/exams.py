"""The exam of a recipe: what it predicted for clips it never saw, and the score that follows.

Shape letters: S seeds, N clips, K classes.
"""

import json
from collections.abc import Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np

from .calibration import apply_temperature, calibration_error, fit_temperature
from .evidence import Difference, bootstrap_interval, mcnemar, paired_bootstrap
from .scores import log_loss, macro_f1, top_k_accuracy


@dataclass(frozen=True)
class OutOfFold:
    """Predictions of clips, each by models that never saw it, once per seed.

    Raises ValueError if a clip has no prediction (a row that is not finite) or a shape is wrong.
    """

    names: tuple[str, ...]  # of the clips, N
    folds: np.ndarray  # int [N]: where each clip was tested
    labels: np.ndarray  # int [N]
    sources: np.ndarray  # int [N]: the recording each clip was cut from
    classes: tuple[str, ...]  # K
    seeds: tuple[int, ...]  # S
    prob_SNK: np.ndarray  # float32

    def __post_init__(self) -> None:
        if not self.seeds:
            raise ValueError("an exam needs the predictions of at least one seed")
        shape = (len(self.seeds), len(self.names), len(self.classes))
        if self.prob_SNK.shape != shape:
            raise ValueError(f"predictions of shape {self.prob_SNK.shape}, expected {shape}")
        for seed, prob_NK in zip(self.seeds, self.prob_SNK, strict=True):
            missing_N = ~np.isfinite(prob_NK).all(axis=1)
            if missing_N.any():
                name = self.names[int(missing_N.argmax())]
                raise ValueError(f"seed {seed}: {missing_N.sum()} clips without a prediction, first {name!r}")

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def correct_N(self) -> np.ndarray:
        """Share of seeds in which each clip is right, float64 [N]."""
        return (self.prob_SNK.argmax(axis=2) == self.labels).mean(axis=0)

    @cached_property
    def weight_N(self) -> np.ndarray:
        """Share of each clip in the score: each fold counts the same. float64 [N], in sum the number of folds."""
        _, inverse_N, size = np.unique(self.folds, return_inverse=True, return_counts=True)
        return 1 / size[inverse_N]


@dataclass(frozen=True)
class Exam:
    """The honest score of one recipe: each test fold predicted once per seed by a model that never saw it."""

    protocol: str
    data: str  # fingerprint of the data set
    seeds: tuple[int, ...]
    folds: tuple[float, ...]  # accuracy of each test fold in order, mean over seeds
    mean: float  # of `folds`: each fold counts the same, as in published figures
    low: float  # 95 % interval of `mean`, bootstrap over sources
    high: float
    macro_f1: float  # over all clips, mean over seeds
    validation: float  # objective that the recipe had in the search
    trials: int  # tried in the search
    clips: int
    # what follows is None in exams of older versions; over all clips and seeds, each clip counts the same
    log_loss: float | None = None  # nats
    calibration_error: float | None = None  # expected, 15 bins
    top3: float | None = None  # share of clips whose class is among the three most probable
    temperature: float | None = None  # fitted on all these predictions: the shipped model uses it
    calibrated_log_loss: float | None = (
        None  # with the temperature of the other folds; None if there is one fold
    )
    calibrated_error: float | None = None
    seed_means: tuple[float, ...] | None = None  # `mean` by seed
    looks: int | None = None  # exams of the study so far, with searching in between, this one included

    @property
    def gap(self) -> float:
        """Optimism: how much better the search thought the recipe was."""
        return self.validation - self.mean

    def to_json(self) -> str:
        """All fields as one JSON object; floats come back bit for bit."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Exam":
        """The exam that `to_json` wrote, also an older one. Raises ValueError if a field is missing or unknown."""
        stored = json.loads(text)
        known = {field.name for field in fields(cls)}
        needed = {field.name for field in fields(cls) if field.default is MISSING}
        if not isinstance(stored, dict) or not needed <= stored.keys() <= known:
            raise ValueError(f"not an exam: expected an object with {sorted(known)}")
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in stored.items()}
        return cls(**values)


def examine(
    found: OutOfFold, *, protocol: str, data: str, validation: float, trials: int, looks: int = 1
) -> Exam:
    """Judge out-of-fold predictions. The rest is what the study knows of its search, see `Exam`."""
    right_SN = found.prob_SNK.argmax(axis=2) == found.labels
    fold, inverse_N = np.unique(found.folds, return_inverse=True)
    folds_SF = np.array([_by_fold(right_N, inverse_N) for right_N in right_SN])
    folds = _by_fold(found.correct_N, inverse_N)
    low, high = bootstrap_interval(found.correct_N, found.sources, weight_N=found.weight_N)
    f1 = [macro_f1(prob_NK.argmax(axis=1), found.labels) for prob_NK in found.prob_SNK]
    prob_MK, label_M = _together(found.prob_SNK), np.tile(found.labels, len(found.seeds))
    calibrated_MK = _together(calibrated(found)) if len(fold) > 1 else None
    return Exam(
        protocol=protocol,
        data=data,
        seeds=found.seeds,
        folds=tuple(float(score) for score in folds),
        mean=float(folds.mean()),
        low=low,
        high=high,
        macro_f1=float(np.mean(f1)),
        validation=validation,
        trials=trials,
        clips=len(found),
        log_loss=log_loss(prob_MK, label_M),
        calibration_error=calibration_error(prob_MK, label_M),
        top3=top_k_accuracy(prob_MK, label_M, min(3, len(found.classes))),
        temperature=fit_temperature(prob_MK, label_M),
        calibrated_log_loss=None if calibrated_MK is None else log_loss(calibrated_MK, label_M),
        calibrated_error=None if calibrated_MK is None else calibration_error(calibrated_MK, label_M),
        seed_means=tuple(float(folds_F.mean()) for folds_F in folds_SF),
        looks=looks,
    )


def calibrated(found: OutOfFold) -> np.ndarray:
    """The predictions of each fold after the temperature fitted on all other folds, float32 [S, N, K].

    No clip has a say in its own temperature, so that scores of these are honest. Raises ValueError if there is
    only one fold.
    """
    folds = np.unique(found.folds)
    if len(folds) < 2:
        raise ValueError("one fold cannot be calibrated by others: the predictions are all of one fold")
    after_SNK = np.empty_like(found.prob_SNK)
    for fold in folds:
        here_N = found.folds == fold
        others_MK = _together(found.prob_SNK[:, ~here_N])
        temperature = fit_temperature(others_MK, np.tile(found.labels[~here_N], len(found.seeds)))
        here_MK = apply_temperature(_together(found.prob_SNK[:, here_N]), temperature)
        after_SNK[:, here_N] = here_MK.reshape(len(found.seeds), -1, len(found.classes))
    return after_SNK


@dataclass(frozen=True)
class Comparison:
    """Two recipes on the same clips, paired. Seeds: a clip is right where more than half of them are."""

    lost: int  # clips that only the first gets right
    won: int  # clips that only the second gets right
    by_clip: float  # two-sided p of McNemar's test
    by_source: Difference  # first - second, counting folds and seeds as the exam's mean does

    def behind(self, level: float = 0.05) -> bool:
        """Whether either test says that the second is the worse one."""
        return (self.lost > self.won and self.by_clip < level) or self.by_source.p < level


def compare(first: OutOfFold, second: OutOfFold) -> Comparison:
    """Pair the predictions of two recipes. Raises ValueError unless they are of the same clips in the same order."""
    if first.names != second.names or not np.array_equal(first.labels, second.labels):
        raise ValueError(
            "these predictions cannot be paired: they are of different clips, or in another order"
        )
    first_N, second_N = first.correct_N > 0.5, second.correct_N > 0.5
    lost, won = int((first_N & ~second_N).sum()), int((second_N & ~first_N).sum())
    difference = paired_bootstrap(first.correct_N, second.correct_N, first.sources, first.weight_N)
    return Comparison(lost, won, mcnemar(lost, won), difference)


def tied(best: OutOfFold, others: Sequence[OutOfFold], level: float = 0.05) -> int:
    """The n of "the first n are statistically tied": `best`, and those right after it that are not behind it.

    others: best first. Counts `best` itself, so that 1 says that nobody is tied with it.
    """
    for number, other in enumerate(others):
        if compare(best, other).behind(level):
            return 1 + number
    return 1 + len(others)


def _together(prob_SNK: np.ndarray) -> np.ndarray:
    """[S, N, K] as [S * N, K]: every seed's prediction of a clip is a prediction."""
    return prob_SNK.reshape(-1, prob_SNK.shape[2])


def _by_fold(score_N: np.ndarray, fold_N: np.ndarray) -> np.ndarray:
    """Mean of each fold, float64 [F]."""
    return np.bincount(fold_N, score_N) / np.bincount(fold_N)


def comparable(a: Exam, b: Exam) -> None:
    """Raise ValueError unless both figures are of the same protocol and the same data."""
    for name, one, two in (("protocol", a.protocol, b.protocol), ("data", a.data, b.data)):
        if one != two:
            raise ValueError(f"these exams cannot be compared: {name} {one!r} against {two!r}")
