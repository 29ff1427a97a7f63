"""Made clips and small recipes for the tests of training: coloured noise, half a second at 8 kHz."""

import numpy as np
import torch

from escmodels.clips import ClipSet, quantise
from escmodels.recipe import Recipe, parse

RATE = 8000
MEL = {
    "data.sample_rate": RATE,
    "data.crop": 0.5,
    "feature.n_mels": 16,
    "feature.n_fft": 256,
    "feature.hop": 128,
    "model.width": 4,
    "model.blocks": 2,
    "model.dropout": 0.2,
    "optim.batch": 8,
    "optim.lr": 1e-2,
}
RAW = {
    "architecture": "raw_cnn",
    "data.sample_rate": RATE,
    "data.crop": 0.5,
    "model.width": 0.125,
    "optim.batch": 8,
    "optim.lr": 1e-2,
}
CRNN = MEL | {"architecture": "crnn", "model.hidden": 8, "model.blocks": 1}


def generator(seed: int = 0) -> torch.Generator:
    """Chance as an argument."""
    return torch.Generator().manual_seed(seed)


def recipe(base: dict = MEL, **changes) -> Recipe:
    """A small recipe; `optim__lr=0.1` changes the knob `optim.lr`."""
    return parse(base | {name.replace("__", "."): value for name, value in changes.items()})


def noises(
    count: int = 24, seconds: float = 0.5, seed: int = 0, classes: int = 2, tail: float = 0.0
) -> ClipSet:
    """Noise whose colour is its class: white smoothed (class 0), white (1), white differenced (2).

    tail: seconds of digital silence at the end of each clip. Two clips a source, folds 1..3.
    """
    rng = np.random.default_rng(seed)
    length, count_N = int(seconds * RATE), np.arange(count)
    white = rng.standard_normal((count, length + 8))
    colours = (
        np.stack([np.convolve(wave, np.ones(8) / 3, "same") for wave in white]),
        white,
        np.diff(white, axis=1, append=0) / 1.4,
    )
    loud = 0.05 * 10 ** rng.uniform(-0.5, 0.5, (count, 1))
    wave = np.choose((count_N % classes)[:, None], colours[:classes])[:, :length] * loud
    wave[:, length - int(tail * RATE) :] = 0
    return ClipSet(
        quantise(wave.astype(np.float32)).ravel(),
        count_N * length,
        np.full(count, length),
        count_N % classes,
        count_N * 3 // count + 1,
        count_N // 2,
        tuple(f"noise{number}" for number in count_N),
        ("brown", "white", "blue")[:classes],
        RATE,
    )
