"""What was asked of a study."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from escmodels.folds import NESTED, ROTATING, held_out

from .conductor import Limits
from .objectives import parse
from .pruning import Policy

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,60}")
NAMED = "must be at most 61 letters (a to z), digits, dots, dashes and underscores"
POLICY = tuple(item.name for item in fields(Policy))
LIMITS = ("trials", "hours", *POLICY, "finalists", "exam_seeds", "model")  # may change at a resume


@dataclass(frozen=True)
class Spec:
    """What was asked of a study; kept in its study.yaml. What may change between sessions is not here."""

    data: str  # path of the data set
    format: str | None = None
    subset: str | None = None
    source_regex: str | None = None
    label_map: Mapping[str, str | None] | None = None  # old label -> new one
    classes: Sequence[str] | None = None  # those that are kept; None: all
    drop_cross_fold_sources: bool = False
    accept_similar: bool = False  # clips with the same audio in two folds are no reason to stop
    skip_bad: bool = False
    folds: int | None = None  # to be made where there are no official ones; None: 5
    fold_seed: int | None = None  # of folds that are made; None: 0
    splits: str | None = None  # file with the folds, instead of making them
    fixed: Mapping[str, Any] = field(default_factory=dict)  # --set knob=value
    epochs: int | None = None  # instead of the space's own
    seed: int = 0
    sampler: str = "tpe"
    objective: str = "accuracy"  # or several, as accuracy,-params
    tries: Sequence[Mapping[str, Any]] = ()  # values that are tried first
    warm_start: str | None = None  # an older study whose trials teach the sampler
    protocol: str = ROTATING  # or "held-out K", or "nested"
    trials: int = 20
    hours: float | None = None
    pruner: str = Policy.pruner
    eta: float = Policy.eta
    rungs: Sequence[float] = Policy.rungs
    competitors: int = Policy.competitors
    level: float = Policy.level
    queue: int = Policy.queue
    finalists: int = 3
    exam_seeds: int = 1
    model: str | None = None  # registered name; None: the data set's

    def __post_init__(self) -> None:
        object.__setattr__(self, "rungs", tuple(self.rungs))  # equal to what comes back from a file
        object.__setattr__(self, "tries", tuple(dict(values) for values in self.tries))
        self.limits()  # refuses what cannot be
        parse(self.objective)
        if self.model is not None and not NAME.fullmatch(self.model):
            raise ValueError(f"model name {self.model!r} {NAMED}")
        if self.finalists < 1 or self.exam_seeds < 1:
            raise ValueError(
                f"finalists and seeds must be at least 1, got {self.finalists} and {self.exam_seeds}"
            )
        if self.folds is not None and self.folds < 3:
            raise ValueError(f"folds must be at least 3 (train, validation, test), got {self.folds}")
        if self.epochs is not None and self.epochs < 1:
            raise ValueError(f"epochs must be at least 1, got {self.epochs}")
        held_out(self.protocol)  # refuses one that nobody knows
        if self.protocol == NESTED and self.warm_start:
            raise ValueError(
                f"--nested begins with --warm-start {self.warm_start}, which has seen the folds that are to be held "
                "out; leave one of them out"
            )

    def limits(self) -> Limits:
        """The limits of the search."""
        policy = Policy(self.pruner, self.eta, tuple(self.rungs), self.competitors, self.level, self.queue)
        return Limits(self.trials, self.hours, policy)
