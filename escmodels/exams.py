"""The exam of a recipe: what it predicted for clips it never saw, and the score that follows.

Shape letters: S seeds, N clips, K classes.
"""

import json
from dataclasses import MISSING, asdict, dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np

from .evidence import bootstrap_interval
from .scores import macro_f1


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


def examine(found: OutOfFold, *, protocol: str, data: str, validation: float, trials: int) -> Exam:
    """Judge out-of-fold predictions."""
    predicted_SN = found.prob_SNK.argmax(axis=2)
    fold, inverse_N, size = np.unique(found.folds, return_inverse=True, return_counts=True)
    folds = np.bincount(inverse_N, found.correct_N, minlength=len(fold)) / size
    low, high = bootstrap_interval(found.correct_N, found.sources, weight_N=found.weight_N)
    return Exam(
        protocol=protocol,
        data=data,
        seeds=found.seeds,
        folds=tuple(float(score) for score in folds),
        mean=float(folds.mean()),
        low=low,
        high=high,
        macro_f1=float(np.mean([macro_f1(predicted_N, found.labels) for predicted_N in predicted_SN])),
        validation=validation,
        trials=trials,
        clips=len(found),
    )


def comparable(a: Exam, b: Exam) -> None:
    """Raise ValueError unless both figures are of the same protocol and the same data."""
    for name, one, two in (("protocol", a.protocol, b.protocol), ("data", a.data, b.data)):
        if one != two:
            raise ValueError(f"these exams cannot be compared: {name} {one!r} against {two!r}")
