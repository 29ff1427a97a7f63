"""How good predictions are: accuracy, macro F1, confusion, log loss, intervals, paired test, the exam of a recipe.

Shape letters: N clips, K classes, R recordings (sources), D bootstrap draws.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .clips import ClipSet  # torch takes seconds to import, and none of this needs it


def _same(first_N: np.ndarray, second_N: np.ndarray) -> None:
    if len(first_N) != len(second_N):
        raise ValueError(f"{len(first_N)} predictions for {len(second_N)} labels")
    if len(first_N) == 0:
        raise ValueError("there is nothing to score: no clips")


def accuracy(pred_N: np.ndarray, label_N: np.ndarray) -> float:
    """Share of right predictions."""
    _same(pred_N, label_N)
    return float(np.mean(pred_N == label_N))


def confusion(pred_N: np.ndarray, label_N: np.ndarray, classes: int) -> np.ndarray:
    """Number of clips of class i (row) that were taken for class j (column), int64 [K, K]."""
    _same(pred_N, label_N)
    cell_N = np.asarray(label_N, dtype=np.int64) * classes + pred_N
    return np.bincount(cell_N, minlength=classes * classes).reshape(classes, classes)


def macro_f1(pred_N: np.ndarray, label_N: np.ndarray) -> float:
    """Unweighted mean of 2 TP / (2 TP + FP + FN) over the classes that occur in labels or predictions."""
    _same(pred_N, label_N)
    table_KK = confusion(pred_N, label_N, int(max(pred_N.max(), label_N.max())) + 1)
    seen_K = table_KK.sum(0) + table_KK.sum(1)  # 2 TP + FP + FN
    return float(np.mean(2 * table_KK.diagonal()[seen_K > 0] / seen_K[seen_K > 0]))


def log_loss(prob_NK: np.ndarray, label_N: np.ndarray) -> float:
    """Mean of -log p(label) in nats; p is kept above the machine epsilon of its type."""
    _same(prob_NK, label_N)
    right_N = prob_NK[np.arange(len(label_N)), label_N]
    return float(-np.log(np.maximum(right_N, np.finfo(prob_NK.dtype).eps), dtype=np.float64).mean())


def mcnemar(lost: int, won: int) -> float:
    """Two-sided p of McNemar's exact test for two systems on the same clips.

    lost, won: clips that only the one and only the other gets right. Where they are equally good, each such clip
    falls to either side with probability 1/2, so that the smaller number is binomial (McNemar 1947; exact form as
    in Dietterich 1998). Raises ValueError for numbers below 0.
    """
    if lost < 0 or won < 0:
        raise ValueError(f"numbers of clips must not be negative, got {lost} and {won}")
    clips = lost + won
    tail = sum(math.comb(clips, least) for least in range(min(lost, won) + 1))
    return min(1.0, 2 * tail / 2**clips)


def bootstrap_interval(
    correct_N: np.ndarray,
    source_N: np.ndarray,
    draws: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    weight_N: np.ndarray | None = None,
) -> tuple[float, float]:
    """Percentile interval of the mean of `correct_N` when whole recordings are drawn again.

    Clips cut from one recording are right or wrong together, so that resampling clips would give too narrow
    an interval. weight_N: share of each clip in the mean (default equal). All right gives (1, 1): the
    bootstrap cannot know what it has not seen.
    """
    _same(correct_N, source_N)
    weight = np.ones(len(correct_N)) if weight_N is None else np.asarray(weight_N, dtype=np.float64)
    _, source = np.unique(source_N, return_inverse=True)
    hit_R = np.bincount(source, weight * correct_N)
    all_R = np.bincount(source, weight)
    rng, R, means = np.random.default_rng(seed), len(hit_R), []
    step = max(1, 4_000_000 // R)  # a few million numbers at once
    for at in range(0, draws, step):
        times_DR = rng.multinomial(R, np.full(R, 1 / R), size=min(step, draws - at))
        means.append((times_DR @ hit_R) / (times_DR @ all_R))
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


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

    @property
    def gap(self) -> float:
        """Optimism: how much better the search thought the recipe was."""
        return self.validation - self.mean

    def to_json(self) -> str:
        """All fields as one JSON object; floats come back bit for bit."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Exam":
        """The exam that `to_json` wrote. Raises ValueError if a field is missing or unknown."""
        stored = json.loads(text)
        known = {field.name for field in fields(cls)}
        if not isinstance(stored, dict) or stored.keys() != known:
            raise ValueError(f"not an exam: expected an object with {sorted(known)}")
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in stored.items()}
        return cls(**values)


def examine(
    probabilities: Mapping[int, np.ndarray],
    clips: "ClipSet",
    *,
    protocol: str,
    data: str,
    validation: float,
    trials: int,
) -> Exam:
    """Judge out-of-fold predictions: seed -> float [N, K], row by row those of `clips`.

    Raises ValueError if a clip has no prediction (a row that is not finite) or a shape is wrong.
    """
    if not probabilities:
        raise ValueError("an exam needs the predictions of at least one seed")
    shape = (len(clips), len(clips.classes))
    for seed, prob_NK in probabilities.items():
        if prob_NK.shape != shape:
            raise ValueError(f"seed {seed}: predictions of shape {prob_NK.shape}, expected {shape}")
        missing_N = ~np.isfinite(prob_NK).all(axis=1)
        if missing_N.any():
            name = clips.names[int(missing_N.argmax())]
            raise ValueError(f"seed {seed}: {missing_N.sum()} clips without a prediction, first {name!r}")
    predictions = [prob_NK.argmax(axis=1) for prob_NK in probabilities.values()]
    correct_N = np.mean([pred_N == clips.labels for pred_N in predictions], axis=0)
    fold, inverse_N, size = np.unique(clips.folds, return_inverse=True, return_counts=True)
    folds = np.bincount(inverse_N, correct_N, minlength=len(fold)) / size
    low, high = bootstrap_interval(correct_N, clips.sources, weight_N=1 / size[inverse_N])
    return Exam(
        protocol=protocol,
        data=data,
        seeds=tuple(probabilities),
        folds=tuple(float(score) for score in folds),
        mean=float(folds.mean()),
        low=low,
        high=high,
        macro_f1=float(np.mean([macro_f1(pred_N, clips.labels) for pred_N in predictions])),
        validation=validation,
        trials=trials,
        clips=len(clips),
    )


def comparable(a: Exam, b: Exam) -> None:
    """Raise ValueError unless both figures are of the same protocol and the same data."""
    for name, one, two in (("protocol", a.protocol, b.protocol), ("data", a.data, b.data)):
        if one != two:
            raise ValueError(f"these exams cannot be compared: {name} {one!r} against {two!r}")
