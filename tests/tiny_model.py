"""A classifier that takes a second to train, for the tests of what happens to models afterwards."""

from pathlib import Path

import numpy as np

from escmodels.classifier import Classifier
from escmodels.clips import ClipSet
from escmodels.fit import fit
from escmodels.recipe import parse
from search import bundle

RATE = 8000  # Hz
CLASSES = ("noise", "tone")
VALUES = {
    "architecture": "mel_cnn",
    "data.sample_rate": RATE,
    "data.crop": 1.0,
    "feature.n_mels": 16,
    "feature.n_fft": 256,
    "feature.hop": 128,
    "model.width": 4,
    "model.blocks": 2,
    "optim.batch": 4,
    "optim.lr": 0.01,
}
CARD = {"data": "tones", "licence": "none", "values": VALUES}


def sound(label: str, seconds: float, rate: int, seed: int = 0) -> np.ndarray:
    """A wave, float32 [T] in [-1, 1]."""
    rng = np.random.default_rng(seed)
    time_T = np.arange(round(seconds * rate)) / rate
    if label == "tone":
        return (0.5 * np.sin(2 * np.pi * rng.uniform(300, 1500) * time_T)).astype(np.float32)
    return (0.2 * rng.standard_normal(len(time_T))).astype(np.float32)


def tones(seconds: float = 1.0, count: int = 8) -> ClipSet:
    """`count` clips, the classes in turn."""
    waves = [sound(CLASSES[row % 2], seconds, RATE, row) for row in range(count)]
    lengths = np.array([len(wave) for wave in waves])
    return ClipSet(
        samples=(np.concatenate(waves) * 32767).astype(np.int16),
        starts=np.cumsum(lengths) - lengths,
        lengths=lengths,
        labels=np.arange(count) % 2,
        folds=np.ones(count, dtype=np.int64),
        sources=np.arange(count),
        names=tuple(f"clip{row}" for row in range(count)),
        classes=CLASSES,
        sample_rate=RATE,
    )


def trained(seed: int = 0) -> Classifier:
    """Knows a tone from noise."""
    return fit(parse(VALUES), tones(), None, epochs=8, seed=seed).classifier


def bundled(folder: Path, seed: int = 0) -> Path:
    """A bundle with a trained classifier."""
    return bundle.write(trained(seed), folder, card=CARD)
