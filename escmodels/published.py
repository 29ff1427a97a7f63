"""How figures are made that this project would not make: protocols of published systems, to be done again and named.

None of them is honest. They leak (`random windows`, and `random clips` wherever a recording has several), or choose on
the clips that they report (`best validation`, `best on test`), or were at least tuned on them. Here they only serve to
stand beside an honest figure.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .clips import ClipSet
from .fit import EpochScore

TESTED = 0.2  # share of a random split


@dataclass(frozen=True)
class Protocol:
    """One way to a figure."""

    says: str  # for people
    windows: bool = False  # clips are cut into windows before they are split
    folds: str = "none"  # none: a random split; last: the last fold alone; all: every fold in turn
    best: bool = False  # the epoch is the best one on the clips that are reported, not the last one


PROTOCOLS = {
    "random clips": Protocol("a fifth of the clips at random, last epoch"),
    "random windows": Protocol(
        "a fifth of the windows at random, so that windows of one clip are on both sides; scored by window, last epoch",
        windows=True,
    ),
    "best validation": Protocol(
        "the last fold as validation clips, which choose the epoch and are reported", folds="last", best=True
    ),
    "best on test": Protocol(
        "every fold in turn, each at its best epoch on the test clips", folds="all", best=True
    ),
    "last on test": Protocol("every fold in turn, last epoch", folds="all"),
}


def splits(protocol: Protocol, clips: ClipSet, crop: int, seed: int) -> list[tuple[ClipSet, ClipSet]]:
    """(training, reported) clips of each training. crop: samples of a window.

    Raises ValueError where there are too few clips, or folds, for it.
    """
    clips = cut(clips, crop) if protocol.windows else clips
    if protocol.folds == "none":
        order_N = np.random.default_rng(seed).permutation(len(clips))
        count = round(TESTED * len(clips))
        if not 1 <= count <= len(clips) - 2:
            raise ValueError(f"{len(clips)} clips cannot be split at random, at least 3 are needed")
        parts = [(order_N[count:], order_N[:count])]
    else:
        folds = sorted(set(clips.folds.tolist()))
        if len(folds) < 2:
            raise ValueError("there is one fold, and a published protocol with folds needs two")
        tested = folds[-1:] if protocol.folds == "last" else folds
        parts = [
            (np.flatnonzero(clips.folds != fold), np.flatnonzero(clips.folds == fold)) for fold in tested
        ]
    return [(clips.subset(np.sort(train)), clips.subset(np.sort(test))) for train, test in parts]


def cut(clips: ClipSet, length: int) -> ClipSet:
    """The evaluation windows of `length` samples, half overlapping, as clips of their own."""
    row_W, begin_W = clips.windows(length, max(1, length // 2))
    whole = clips.subset(row_W)
    return ClipSet(
        clips.samples,
        whole.starts + begin_W,
        np.minimum(length, whole.lengths - begin_W),
        whole.labels,
        whole.folds,
        whole.sources,
        tuple(f"{name}+{begin}" for name, begin in zip(whole.names, begin_W, strict=True)),
        clips.classes,
        clips.sample_rate,
    )


def reported(protocol: Protocol, scores: Sequence[EpochScore]) -> tuple[int, float]:
    """Epoch and accuracy that such a protocol reports of a training that was scored after every epoch."""
    found = [(score.epoch, score.valid_accuracy) for score in scores if score.valid_accuracy is not None]
    epoch, accuracy = max(found, key=lambda one: one[1]) if protocol.best else found[-1]
    return epoch, float(accuracy)
