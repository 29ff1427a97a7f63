"""Training throughput: the usual notebook against this project, and this project against the bare net.

`python benchmarks/training.py` measures both ways in one run, in turns, prints tables and writes them to
docs/performance.md. Uses ESC-10, and the synthetic set where that is not found.

The usual way: a Dataset whose `__getitem__` computes the log-mel spectrogram of one clip with librosa, a DataLoader
with 2 workers, the net in torch's default memory format, Adam as it comes, torch's own number of threads. Ours: two
fits side by side, one thread each, as a search runs them on two cores. Same net, same batch of 16, same clips.
"""

import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path

import librosa
import numpy as np
import torch
from common import PERFORMANCE, about, data, duration, prose, table, times, write_section
from torch.nn import functional
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from escmodels.classifier import Classifier
from escmodels.clips import ClipSet
from escmodels.fit import EpochScore, fit
from escmodels.recipe import Recipe, parse
from search.datasets.dataset import Dataset
from search.datasets.waves.store import open_store

RATE, SECONDS, BATCH = 22050, 5.0, 16
PROCESSES = 2
AUGMENT = {
    "augment.pitch": 2.0,
    "augment.stretch": 0.2,
    "augment.noise_p": 1.0,
    "augment.noise_snr_db": 20.0,
    "augment.freq_mask": 0.1,
    "augment.time_mask": 0.1,
}


@dataclass(frozen=True)
class Case:
    """A net and its input, how much is trained in a round, and the bars of the project."""

    what: str
    width: int
    n_mels: int
    hop: int
    clips: int
    epochs: int  # of ours; the usual way trains one
    bar: float  # how many times the usual way, without augmentation
    bar_augmented: float

    def recipe(self, augmented: bool) -> Recipe:
        """The recipe of ours."""
        return parse(
            {
                "architecture": "mel_cnn",
                "model.width": self.width,
                "model.blocks": 4,
                "feature": "logmel",
                "feature.n_mels": self.n_mels,
                "feature.hop": self.hop,
                "data.sample_rate": RATE,
                "data.crop": SECONDS,
                "optim.batch": BATCH,
                **(AUGMENT if augmented else {}),
            }
        )


CASES = (
    Case("8-64, 40 x 128", 8, 40, 868, 320, 30, 20.0, 12.0),
    Case("16-128, 64 x 216", 16, 64, 512, 320, 8, 7.0, 5.0),
    Case("64-512, 64 x 216", 64, 64, 512, 64, 3, 1.5, 1.5),
)


class Usual(TorchDataset[tuple[torch.Tensor, int]]):
    """Clips as a notebook reads them: decoded (or taken from memory) and transformed one by one, in every epoch."""

    def __init__(
        self, sounds: Sequence[Path] | np.ndarray, labels: np.ndarray, case: Case, augmented: bool
    ) -> None:
        self.sounds, self.labels, self.case, self.augmented = sounds, labels, case, augmented

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        sound = self.sounds[row]
        wave = librosa.load(sound, sr=RATE)[0] if isinstance(sound, Path) else sound
        wave = librosa.util.fix_length(wave, size=round(SECONDS * RATE))
        if self.augmented:
            wave = librosa.effects.pitch_shift(wave, sr=RATE, n_steps=np.random.uniform(-2, 2))
            wave = librosa.effects.time_stretch(wave, rate=1.2 ** np.random.uniform(-1, 1))
            wave = librosa.util.fix_length(wave, size=round(SECONDS * RATE))
            level = np.sqrt(np.mean(wave**2)) * 10 ** (-np.random.uniform(20, 40) / 20)
            wave = wave + np.random.randn(len(wave)).astype(np.float32) * level
        mel = librosa.feature.melspectrogram(
            y=wave, sr=RATE, n_fft=1024, hop_length=self.case.hop, n_mels=self.case.n_mels, fmin=50.0
        )
        db = librosa.power_to_db(mel)
        db = (db - db.mean()) / (db.std() + 1e-6)
        if self.augmented:
            for axis in (0, 1):
                for _ in range(2):
                    width = np.random.randint(0, int(0.05 * db.shape[axis]) + 1)
                    at = np.random.randint(0, db.shape[axis] - width + 1)
                    db[(slice(None),) * axis + (slice(at, at + width),)] = 0.0
        return torch.from_numpy(db.astype(np.float32))[None], int(self.labels[row])


def usual(dataset: Usual, case: Case) -> Callable[[], float]:
    """What trains one epoch in the usual way and gives the seconds it took."""
    net = Classifier.fresh(case.recipe(False), tuple("abcdefghij")).net.to(
        memory_format=torch.contiguous_format
    )
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-3)
    loader = DataLoader(dataset, batch_size=BATCH, shuffle=True, num_workers=2)
    _ = dataset[0]  # what librosa imports at first use is there before the workers fork

    def epoch() -> float:
        torch.set_num_threads(2)
        net.train()
        began = time.perf_counter()
        for x, label in loader:
            optimiser.zero_grad()
            loss = functional.cross_entropy(net(x), label)
            loss.backward()
            optimiser.step()
            loss.item()  # the running loss that every notebook prints
        return time.perf_counter() - began

    return epoch


def serve(pipe: Connection, barrier: Barrier, clips: ClipSet) -> None:
    """A worker of ours: fits what it is sent, together with the other one, and answers with the seconds."""
    torch.set_num_threads(1)
    while (order := pipe.recv()) is not None:
        case, augmented = order
        train = clips.subset(range(case.clips))
        barrier.wait()
        began = time.perf_counter()
        fit(case.recipe(augmented), train, None, epochs=case.epochs, seed=0)
        pipe.send(time.perf_counter() - began)


class Workers:
    """Two processes that train side by side."""

    def __init__(self, clips: ClipSet) -> None:
        context = multiprocessing.get_context("spawn")
        barrier = context.Barrier(PROCESSES)
        ends = [context.Pipe() for _ in range(PROCESSES)]
        self.pipes = [mine for mine, _ in ends]
        self.processes = [context.Process(target=serve, args=(theirs, barrier, clips)) for _, theirs in ends]
        for process in self.processes:
            process.start()

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *exc: object) -> None:
        for pipe in self.pipes:
            pipe.send(None)
        for process in self.processes:
            process.join()

    def speed(self, case: Case, augmented: bool) -> float:
        """Clip-epochs per second of whole fits, with everything that is done once in a fit."""
        for pipe in self.pipes:
            pipe.send((case, augmented))
        seconds = max(pipe.recv() for pipe in self.pipes)
        return PROCESSES * case.clips * case.epochs / seconds


def against_usual(
    dataset: Dataset, clips: ClipSet, workers: Workers, augmented: bool
) -> Iterator[tuple[str, ...]]:
    """Rows of the table: clip-epochs per second of both ways."""
    waves = clips.take(np.arange(320), np.zeros(320, np.int64), round(SECONDS * RATE)).float().numpy() / 32768
    paths = [clip.path for clip in dataset.clips]
    for case in CASES:
        labels = clips.labels[: case.clips]
        ways = {
            "from files": usual(Usual(paths[: case.clips], labels, case, augmented), case),
            "from memory": usual(Usual(waves[: case.clips], labels, case, augmented), case),
        }
        rounds = 3
        speeds: dict[str, list[float]] = {name: [] for name in (*ways, "ours")}
        workers.speed(case, augmented)  # warms up
        for _ in range(rounds):
            for name, way in ways.items():
                speeds[name].append(case.clips / way())
            speeds["ours"].append(workers.speed(case, augmented))
        middle = {name: statistics.median(values) for name, values in speeds.items()}
        bar = case.bar_augmented if augmented else case.bar
        row = (
            case.what,
            f"{middle['from files']:,.0f}",
            f"{middle['from memory']:,.0f}",
            f"{middle['ours']:,.0f}",
            times(middle["ours"] / middle["from files"]),
            times(middle["ours"] / middle["from memory"]),
            times(bar),
        )
        print(" | ".join(row), flush=True)
        yield row


class Floor:
    """Called after each epoch of a fit: measures the bare pass of the same net, and takes the ratio of the two."""

    def __init__(self, case: Case, steps: int) -> None:
        self.net = Classifier.fresh(case.recipe(False), tuple("abcdefghij")).net.train()
        self.x = torch.randn(BATCH, 1, case.n_mels, 1 + round(SECONDS * RATE) // case.hop)
        self.label = torch.arange(BATCH) % 10
        self.steps = steps
        self.bare: list[float] = []
        self.ratios: list[float] = []

    def __call__(self, score: EpochScore) -> None:
        began = time.perf_counter()
        for _ in range(self.steps):
            self.net.zero_grad(set_to_none=True)
            functional.cross_entropy(self.net(self.x), self.label).backward()
        self.bare.append((time.perf_counter() - began) / self.steps)
        self.ratios.append(score.seconds / self.steps / self.bare[-1])


def against_floor(clips: ClipSet) -> Iterator[tuple[str, ...]]:
    """Rows of the table: a step of ours, without and with augmentation, against the bare pass of the same net."""
    torch.set_num_threads(1)
    for case in CASES:
        steps = min(case.clips, 192) // BATCH
        train = clips.subset(range(steps * BATCH))
        cells: list[str] = []
        bare: list[float] = []
        for augmented in (False, True):
            floor = Floor(case, steps)
            fit(case.recipe(augmented), train, None, epochs=8, seed=0, on_epoch=floor)
            ratios = floor.ratios[1:]  # the first epoch warms up
            bare += floor.bare[1:]
            cells += [times(statistics.median(ratios)), f"{times(min(ratios))} to {times(max(ratios))}"]
        row = (case.what, duration(statistics.median(bare)), *cells)
        print(" | ".join(row), flush=True)
        yield row


def main() -> None:
    """Measure everything, print and write the tables."""
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory(prefix="escsearch-bench-") as scratch:
        dataset = data(Path(scratch))
        clips = open_store(dataset, RATE, Path(scratch) / "cache")
        head = ("net, input", "usual, files", "usual, waves in memory", "ours")
        head += ("ours / files", "ours / memory", "bar")
        with Workers(clips) as workers:
            plain = list(against_usual(dataset, clips, workers, augmented=False))
            augmented = list(against_usual(dataset, clips, workers, augmented=True))
        floor = list(against_floor(clips))
    lines = [
        "## Against the usual notebook, and against the bare net",
        "",
        *prose(
            f"{about(dataset, 'torch', 'librosa', 'soundfile')} Clip-epochs per second on both cores, medians of 3 "
            "alternating rounds. Ours counts whole fits, with all that is computed once in a fit (30, 8 and 3 epochs)."
        ),
        *table(head, plain),
        "",
        *prose("With pitch shift, time stretch, noise and SpecAugment on every clip, on both sides:"),
        *table(head, augmented),
        "",
        *prose(
            "One training step against the bare forward and backward pass of the same net in the best memory format, "
            "one thread, batch 16, medians of 7 alternating rounds (bars: 1.2x, and 1.5x with augmentation):"
        ),
        *table(
            ("net, input", "bare pass", "step", "least to greatest", "step, augmented", "least to greatest"),
            floor,
        ),
    ]
    write_section(PERFORMANCE, "training", lines)


if __name__ == "__main__":
    main()
