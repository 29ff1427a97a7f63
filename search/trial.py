"""One trial: a recipe trained on the splits of a study, one after the other.

Runs in a worker (or in process) and knows neither Ray nor files: what it has to say goes through `report`,
and whoever wants it to stop raises from there. A trial sees train and validation rows only.
"""

import math
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from escmodels.clips import ClipSet
from escmodels.costs import costs, noise
from escmodels.fit import Diverged, EpochScore, Fitted, fit
from escmodels.folds import SearchSplit
from escmodels.recipe import Recipe, parse
from escmodels.scores import accuracy, log_loss
from spaces.limits import exceeded

ClipsAt = Callable[[int], ClipSet]  # sample rate in Hz -> the clips of the study at that rate
LONGEST = 500  # characters of the reason of a failure
# what torch and the libraries below it say, in a plain RuntimeError, where they lack memory ...
LACKING = (
    "can't allocate memory",
    "not enough memory",
    "std::bad_alloc",
    "CUDA error: out of memory",
    "CUDA driver error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
# ... and where a process can compute nothing more on its GPU
BROKEN = (
    "CUDA error: ",
    "CUDNN_STATUS_EXECUTION_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR",
    "Triton Error [CUDA]",
)


@dataclass(frozen=True)
class Plan:
    """What all trials of a study share."""

    splits: tuple[SearchSplit, ...]  # in the order in which every trial runs them
    epochs: int
    seed: int
    costs: tuple[str, ...] = ()  # what objectives and limits want to know of a recipe before it is trained
    limits: Mapping[str, float] = field(default_factory=dict)  # cost -> the most that a recipe may cost


@dataclass(frozen=True)
class Assignment:
    """A trial handed to a worker; `finished` are the splits that it need not train again.

    values: what it trains with, rescued from lack of memory where that was needed. costs: those that are known.
    """

    trial: int
    values: Mapping[str, Any]
    finished: frozenset[int] = frozenset()
    costs: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class FoldResult:
    """The end of a fold run on the validation clips of its split."""

    score: float  # accuracy
    loss: float
    predictions: bytes  # int16 class of every validation clip
    seconds: float


@dataclass(frozen=True)
class Report:
    """One epoch of one split; or `costs` alone, before the first; or the end of the trial for a reason of its own.

    `failed`: it cannot be trained. `memory`: there was too little for it. `over`: it costs more than it may.
    """

    trial: int
    split: int = 0
    epoch: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    result: FoldResult | None = None  # with the last epoch of a split
    failed: str = ""
    memory: str = ""
    over: str = ""
    costs: Mapping[str, float] = field(default_factory=dict)


class DeviceLost(Exception):
    """The GPU takes no more work of this process, which should end. That may be the fault of the GPU alone.

    memory: it began with a lack of memory.
    """

    def __init__(self, reason: str, memory: bool = False) -> None:
        super().__init__(reason, memory)
        self.reason, self.memory = reason, memory

    def __str__(self) -> str:
        return self.reason


def run_trial(
    assignment: Assignment,
    plan: Plan,
    clips_at: ClipsAt,
    report: Callable[[Report], None],
    device: str = "cpu",
) -> None:
    """Train the splits that are not finished. A recipe that cannot train is reported, not raised.

    Raises `DeviceLost`. What `report` raises comes out as it is.
    """
    trial = assignment.trial

    def tell(news: Report) -> None:
        try:
            report(news)
        except Exception as error:  # not to be taken for a failure of the training below
            raise _FromReport from error

    try:
        _run_splits(assignment, plan, clips_at, tell, device)
    except _FromReport as passed:
        assert passed.__cause__ is not None
        raise passed.__cause__ from None
    except Exception as error:  # also a bug: told as what it is, it is not tried again and others go on
        check_device(error)
        reason = told(error)
        report(Report(trial, memory=reason) if lacks_memory(error) else Report(trial, failed=reason))


def told(error: Exception) -> str:
    """What a training has raised, in one line. Of what only a bug or the machine raises, with its place."""
    text = " ".join(str(error).split())[:LONGEST]
    if isinstance(error, Diverged):
        return f"diverged: {text}"
    name = type(error).__name__
    if isinstance(error, ValueError | RuntimeError | MemoryError):  # as of a net that does not fit its input
        return f"{name}: {text}"
    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"{name} at {Path(where.filename).name}:{where.lineno}: {text}"


def lacks_memory(error: Exception) -> bool:
    """Whether memory, of the device or of the machine, was all that was missing."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in LACKING)


def check_device(error: Exception) -> None:
    """Raises `DeviceLost` where what a training has raised leaves this process without its GPU."""
    broken = isinstance(error, RuntimeError) and any(words in str(error) for words in BROKEN)
    if broken or isinstance(error, torch.AcceleratorError):
        raise DeviceLost(told(error), lacks_memory(error)) from error


class _FromReport(BaseException):
    """Carries an exception of `report` past the handlers of a training."""


def _run_splits(
    assignment: Assignment, plan: Plan, clips_at: ClipsAt, report: Callable[[Report], None], device: str
) -> None:
    recipe = parse(assignment.values)
    clips = clips_at(recipe.data.sample_rate)
    known = assignment.costs
    if missing := [cost for cost in plan.costs if cost not in known]:
        known = {**known, **_measured(recipe, clips, plan, missing, device)}
        report(Report(assignment.trial, costs=known))
    if over := exceeded(plan.limits, known):
        report(Report(assignment.trial, over=over))
        return
    for split in plan.splits:
        if split.number not in assignment.finished:
            _run_split(assignment.trial, recipe, split, plan, clips, report, device)


def _measured(
    recipe: Recipe, clips: ClipSet, plan: Plan, wanted: Sequence[str], device: str
) -> dict[str, float]:
    """Costs for one clip as long as the median of the training clips.

    A time above its limit is taken once more, and the shorter one counts: other workers keep the machine busy.
    """
    length = int(np.median(clips.lengths[list(plan.splits[0].train)]))
    clip = noise(length, recipe.data.sample_rate, clips.classes)
    found = costs(recipe, clip, device, wanted)
    if "latency" in found and found["latency"] > plan.limits.get("latency", math.inf):
        again = costs(recipe, clip, device, ("latency",))
        found["latency"] = min(found["latency"], again["latency"])
    return found


def _run_split(
    trial: int,
    recipe: Recipe,
    split: SearchSplit,
    plan: Plan,
    clips: ClipSet,
    report: Callable[[Report], None],
    device: str,
) -> None:
    began = time.perf_counter()
    train, valid = clips.subset(split.train), clips.subset(split.valid)
    last: list[EpochScore] = []

    def on_epoch(score: EpochScore) -> None:
        if score.epoch < plan.epochs:  # the last epoch is reported together with the result
            report(Report(trial, split.number, score.epoch, _metrics(score)))
        last[:] = [score]

    fitted = fit(recipe, train, valid, epochs=plan.epochs, seed=plan.seed, device=device, on_epoch=on_epoch)
    result = _result(fitted, valid, time.perf_counter() - began)
    report(Report(trial, split.number, plan.epochs, _metrics(last[0]), result))


def _metrics(score: EpochScore) -> dict[str, float]:
    metrics = {"train_loss": score.train_loss, "lr": score.lr, "seconds": score.seconds}
    if score.valid_accuracy is not None and score.valid_loss is not None:
        metrics |= {"valid_loss": score.valid_loss, "valid_accuracy": score.valid_accuracy}
    return metrics


def _result(fitted: Fitted, valid: ClipSet, seconds: float) -> FoldResult:
    probabilities = fitted.valid_probabilities
    assert probabilities is not None
    predictions = probabilities.argmax(axis=1)
    return FoldResult(
        accuracy(predictions, valid.labels),
        log_loss(probabilities, valid.labels),
        predictions.astype(np.int16).tobytes(),
        seconds,
    )


def use_threads(threads: int) -> None:
    """Threads of this process for the numeric work. Set at every start: a reused worker keeps the old number."""
    torch.set_num_threads(threads)
