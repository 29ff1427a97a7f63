"""What the core costs against the usual way, measured side by side in one run: `python benchmarks/core.py`.

Prints a Markdown table and writes it to docs/benchmarks.md. One thread; medians of alternating repeats, so that
the ratios can be trusted where the milliseconds cannot. Uses ESC-10 (ESC10_ROOT, or ../shared/data beside the
checkout) and the synthetic set where that is not found.
"""

import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import librosa
import numpy as np
import soundfile
import torch

from escmodels.augment import Augment, AugmentConfig
from escmodels.classifier import Classifier
from escmodels.clips import ClipSet
from escmodels.features import LogMel, LogMelConfig
from escmodels.recipe import parse
from search.datasets.dataset import Dataset, open_dataset
from search.datasets.store import prepare
from search.datasets.synthetic import write_esc50_folder

ROOT = Path(__file__).resolve().parents[1]
RATE, BATCH, REPEATS = 22050, 32, 5
Row = tuple[str, str, str, float, float]


def median_ms(ways: dict[str, Callable[[], object]], repeats: int = REPEATS) -> dict[str, float]:
    """Milliseconds of each way, medians of alternating repeats after one unmeasured round."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(repeats + 1):
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            if repeat:
                seconds[name].append(time.perf_counter() - began)
    return {name: 1000 * statistics.median(values) for name, values in seconds.items()}


def compare(what: str, contender: str, slow: Callable[[], object], ours: Callable[[], object]) -> Row:
    """One row of the table."""
    found = median_ms({"slow": slow, "ours": ours})
    row = (what, contender, f"{found['slow'] / found['ours']:.1f}x", found["slow"], found["ours"])
    print(f"{row[0]}: {row[2]} ({contender} {row[3]:.1f} ms, ours {row[4]:.1f} ms)", flush=True)
    return row


def data() -> tuple[Dataset, ClipSet, float]:
    """The data set, its clips, and the seconds of a warm start."""
    root = Path(os.environ.get("ESC10_ROOT", ROOT.parent / "shared" / "data" / "ESC-10"))
    scratch = Path(tempfile.mkdtemp(prefix="escsearch-bench-"))
    dataset = open_dataset(root if root.exists() else write_esc50_folder(scratch / "synthetic"))
    prepare(dataset, RATE, scratch / "cache")
    began = time.perf_counter()
    clips = prepare(dataset, RATE, scratch / "cache").clips
    return dataset, clips, time.perf_counter() - began


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
    augment, rng = Augment(config), torch.Generator().manual_seed(0)
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
    dataset, clips, warm = data()
    rows = [decoding(dataset, clips), feature(clips), step(False), step(True)]
    lines = [
        "# Benchmarks",
        "",
        f"Made by `make bench` on {platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}, torch {torch.__version__}, librosa {librosa.__version__}, soundfile "
        f"{soundfile.__version__}; data set {dataset.name}. One thread, medians of {REPEATS} alternating repeats.",
        "",
        "| what | contender | ratio | contender ms | ours ms |",
        "|---|---|---|---|---|",
        *(
            f"| {what} | {other} | {ratio} | {slow:.1f} | {ours:.1f} |"
            for what, other, ratio, slow, ours in rows
        ),
        "",
        f"Warm start of the waveform store: {warm:.3f} s for {len(clips)} clips.",
        "",
    ]
    (ROOT / "docs" / "benchmarks.md").write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
