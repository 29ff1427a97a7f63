"""What the core costs against the usual way, measured side by side in one run: `python benchmarks/core.py`.

Prints a table and writes it to docs/benchmarks.md. One thread. Uses ESC-10, and the synthetic set where that is not
found.
"""

import tempfile
from pathlib import Path

import librosa
import numpy as np
import torch
from common import BENCHMARKS, Row, about, compare, data, prose, ratios, write_section

from escmodels.augment import Augment, AugmentConfig
from escmodels.classifier import Classifier
from escmodels.clips import ClipSet
from escmodels.features import LogMel, LogMelConfig
from escmodels.recipe import parse
from search.datasets.dataset import Dataset
from search.datasets.waves.store import open_store

RATE, BATCH = 22050, 32


def decoding(dataset: Dataset, clips: ClipSet) -> Row:
    """One batch of waves: from the store, and from the files as a notebook reads them in every epoch."""
    rows = np.arange(BATCH)
    paths = [str(clip.path) for clip in dataset.clips[:BATCH]]
    length = 5 * RATE
    return compare(
        f"waves of {BATCH} clips",
        "librosa.load per clip",
        lambda: [librosa.load(path, sr=RATE) for path in paths],
        lambda: clips.take(rows, np.zeros(BATCH, np.int64), length).float() / 32768,
    )


def feature(clips: ClipSet) -> Row:
    """Log-mel of one batch."""
    waves = clips.take(np.arange(BATCH), np.zeros(BATCH, np.int64), 5 * RATE).float() / 32768
    ours = LogMel(LogMelConfig(n_mels=64, fmin=0.0), RATE)

    def usual() -> object:
        mel = librosa.feature.melspectrogram
        return [
            librosa.power_to_db(mel(y=wave, sr=RATE, n_fft=1024, hop_length=512, n_mels=64))
            for wave in waves.numpy()
        ]

    return compare(f"log-mel of {BATCH} clips, 1024/512/64", "librosa per clip", usual, lambda: ours(waves))


def step(augmented: bool) -> Row:
    """One training step of a small mel CNN against the bare forward and backward pass of the same net."""
    values = {"architecture": "mel_cnn", "model.width": 16}
    classifier = Classifier.fresh(parse(values), tuple("abcdefghij"))
    net = classifier.net.train()
    optimiser = torch.optim.AdamW(net.parameters(), fused=True)
    config = (
        AugmentConfig(roll=1.0, freq_mask=0.1, time_mask=0.1, mixup=0.2) if augmented else AugmentConfig()
    )
    augment, rng = Augment(config, "spectrogram"), torch.Generator().manual_seed(0)
    kept = torch.randn(64, 1, 64, 216)
    rows, target = torch.arange(16), torch.eye(10)[torch.arange(16) % 10]

    def bare() -> None:
        torch.nn.functional.cross_entropy(net(kept[:16]), target).backward()

    def whole() -> None:
        x, mixed = augment.mix(augment.spec(kept[rows], rng), target, rng)
        optimiser.zero_grad(set_to_none=True)
        torch.nn.functional.cross_entropy(net(x), mixed).backward()
        optimiser.step()

    what = "training step with roll, masks, mixup" if augmented else "training step"
    return compare(f"{what}, mel CNN 16, batch 16", "bare forward and backward", bare, whole)


def main() -> None:
    """Measure everything, print and write the table."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="escsearch-bench-") as scratch:
        dataset = data(Path(scratch))
        clips = open_store(dataset, RATE, Path(scratch) / "cache")
        rows = [decoding(dataset, clips), feature(clips), step(False), step(True)]
    lines = [
        "## The core",
        "",
        *prose(
            f"{about(dataset, 'torch', 'librosa', 'soundfile')} One thread, medians of 5 alternating rounds."
        ),
        *ratios(rows),
    ]
    write_section(BENCHMARKS, "core", lines)


if __name__ == "__main__":
    main()
