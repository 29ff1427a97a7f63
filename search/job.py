"""One whole training outside the search: a test fold of the exam, or the model that is shipped."""

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from escmodels.fit import fit
from escmodels.recipe import parse

from .trial import ClipsAt


@dataclass(frozen=True)
class Job:
    """Train on some rows for a settled number of epochs; score others once, or hand over the model."""

    key: str  # of the fold run in the ledger, or of the model that is wanted
    trial: int
    values: Mapping[str, Any]
    train: tuple[int, ...]  # rows
    test: tuple[int, ...]  # rows that are scored once at the end; none: the packed model is wanted instead
    epochs: int  # length of the schedule
    stop_after: int  # epochs trained
    seed: int
    split: int = 0  # number of the split; 0 for a training on all folds


@dataclass(frozen=True)
class JobResult:
    """What came of a job."""

    train_losses: tuple[float, ...]  # by epoch
    seconds: float
    probabilities: np.ndarray | None  # float32 [test clips, classes]
    files: Mapping[str, bytes]  # the packed classifier, name -> content, where no test rows were given


@dataclass(frozen=True)
class JobFailure:
    """Why a job could not be done."""

    reason: str


def run_job(
    job: Job, clips_at: ClipsAt, device: str = "cpu", on_epoch: Callable[[], None] = lambda: None
) -> JobResult:
    """Do one job; `on_epoch` is called after each of its epochs.

    Raises what `fit` raises: `ValueError` for a recipe that does not fit, `Diverged`.
    """
    began = time.perf_counter()
    recipe = parse(job.values)
    clips = clips_at(recipe.data.sample_rate)
    fitted = fit(
        recipe,
        clips.subset(job.train),
        None,
        epochs=job.epochs,
        stop_after=job.stop_after,
        seed=job.seed,
        device=device,
        on_epoch=lambda score: on_epoch(),
    )
    probabilities, files = None, {}
    if job.test:
        probabilities = fitted.classifier.probabilities(clips.subset(job.test))
    else:
        with tempfile.TemporaryDirectory() as folder:
            fitted.classifier.pack(Path(folder))
            files = {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}
    losses = tuple(score.train_loss for score in fitted.scores)
    return JobResult(losses, time.perf_counter() - began, probabilities, files)
