"""What each default of a training gives, measured side by side in one run: `python benchmarks/parts.py`.

Every row is one thing that is done without being asked for, against the plain way of doing it; then what is there to
be chosen. Prints tables and writes them to docs/performance.md. One thread, but where a row says otherwise. Uses
ESC-10, and the synthetic set where that is not found.
"""

import multiprocessing
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from multiprocessing.pool import Pool
from pathlib import Path
from unittest.mock import patch

import librosa
import numpy as np
import torch
from common import PERFORMANCE, Row, about, compare, data, prose, ratios, write_section
from plain import one_dimensional, plain_memory, relu_first, same
from torch import Tensor, nn
from torch.nn import functional

from escmodels import inputs, spectrograms
from escmodels.banks import Warp
from escmodels.chance import Chance
from escmodels.classifier import Classifier, Views, predict, waves
from escmodels.clips import ClipSet
from escmodels.features import LogMel, LogMelConfig
from escmodels.fit import fit
from escmodels.recipe import Value, parse
from search.datasets.dataset import open_dataset
from search.datasets.waves.store import open_store

RATE, SECONDS, BATCH = 22050, 5.0, 16
CLASSES = tuple("abcdefghij")
CLIPS = 160  # of an epoch of inputs, and of the fits

Values = dict[str, Value]
COMMON: Values = {"data.sample_rate": RATE, "data.crop": SECONDS, "optim.batch": BATCH}
SMALL: Values = {"model.width": 8, "feature.n_mels": 40, "feature.hop": 868}
MIDDLE: Values = {"model.width": 16}
LARGE: Values = {"model.width": 64}
CRNN: Values = {"architecture": "crnn"}
RESNET: Values = {"architecture": "resnet", "model.weights": "none", "model.width": 0.25}
ACDNET: Values = {"architecture": "raw_cnn", "model.width": 0.25, "data.crop": 1.5}
M5: Values = {"architecture": "raw_cnn", "model.variant": "m5", "data.sample_rate": 8000, "data.crop": 2.5}
NETS = {  # and the training steps of a round
    "mel CNN 8-64, 40 x 128": (SMALL, 12),
    "mel CNN 16-128, 64 x 216": (MIDDLE, 3),
    "mel CNN 64-512, 64 x 216": (LARGE, 1),
    "CRNN, 64 x 216": (CRNN, 1),
    "ResNet-18 of width 1/4, 64 x 216": (RESNET, 2),
}
PITCH: Values = {"augment.pitch": 2.0, "augment.stretch": 0.2}
NOISE: Values = {"augment.noise_p": 1.0}
CROP: Values = {"data.crop": 2.0}


def fresh(values: Values) -> Classifier:
    """An untrained classifier in training mode."""
    model = Classifier.fresh(parse(COMMON | values), CLASSES)
    model.net.train()
    return model


def batch(model: Classifier) -> Tensor:
    """Made-up features of one batch."""
    return torch.randn(BATCH, *model.feature.shape(model.recipe.data.crop_samples))


def training(net: nn.Module, x: Tensor, steps: int, half: bool = False) -> Callable[[], None]:
    """So many times the forward and backward pass."""
    label = torch.arange(len(x)) % len(CLASSES)

    def run() -> None:
        for _ in range(steps):
            net.zero_grad(set_to_none=True)
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                logits = net(x)
            functional.cross_entropy(logits.float(), label).backward()

    return run


def nets() -> Iterator[Row]:
    """Forward and backward passes."""
    for name, (values, steps) in NETS.items():
        model = fresh(values)
        x, other = batch(model), plain_memory(model.net)
        ways = training(other, x, steps), training(model.net, x, steps)
        yield compare(f"channels_last: {name}", "contiguous", *ways)
    for name, (values, steps) in list(NETS.items())[:2]:
        model = fresh(values)
        x, other = batch(model), relu_first(model.net)
        same(model.net, other, x)
        ways = training(other, x, steps), training(model.net, x, steps)
        yield compare(f"ReLU behind max pooling: {name}", "ReLU in front of it", *ways)
    model = fresh(M5)
    x, other = batch(model), one_dimensional(model.net)
    same(model.net, other, x)
    ways = training(other, x, 1), training(model.net, x, 1)
    yield compare("M5 at 8 kHz, 2.5 s: 2-D convolutions in channels_last", "Conv1d", *ways, rounds=3)


def steps() -> Iterator[Row]:
    """What a step is besides its passes, and what an evaluation is."""
    model = fresh(MIDDLE)
    net, x = model.net, batch(model)
    training(net, x, 1)()

    def optimised(**how: bool) -> Callable[[], None]:
        optimiser = torch.optim.AdamW(net.parameters(), lr=1e-6, **how)
        return lambda: [optimiser.step() for _ in range(100)] and None

    for name, how in {"foreach": {"foreach": True}, "for-loop": {"foreach": False}}.items():
        ways = optimised(**how), optimised(fused=True)
        yield compare("100 steps of fused AdamW, mel CNN 16-128", f"AdamW, {name}", *ways)
    small = fresh(SMALL)
    small_x, label = batch(small), torch.arange(BATCH) % len(CLASSES)

    def epoch(wait: bool) -> None:
        total = torch.zeros(())
        for _ in range(12):
            small.net.zero_grad(set_to_none=True)
            loss = functional.cross_entropy(small.net(small_x), label)
            loss.backward()
            total += loss.item() if wait else loss.detach()

    ways = (lambda: epoch(True)), (lambda: epoch(False))
    yield compare("loss summed on the device: mel CNN 8-64, 40 x 128", "`loss.item()` in every step", *ways)
    batches = [torch.randn(32, *x.shape[1:]) for _ in range(4)]
    usual = plain_memory(net).eval()
    yield compare(
        "128 windows judged, 16-128 on 64 x 216: inference mode, folded norms",
        "evaluation mode, with gradients, contiguous",
        lambda: [usual(part).softmax(dim=1) for part in batches],
        lambda: predict(net, batches),
    )


def epoch_of(values: Values, clips: ClipSet, stage: str, keep: bool = True) -> Callable[[], None]:
    """One epoch of batches, ready for the net; what is computed once in a training is there already."""
    model = fresh(values)
    train = clips.subset(range(CLIPS))
    with patch.object(inputs, "KEEP", inputs.KEEP if keep else 0):
        made = inputs.Inputs(model, train, Chance(0, torch.device("cpu")))
    assert made.keeps == stage, f"kept is {made.keeps}, expected {stage}"
    target = torch.eye(len(CLASSES))[torch.arange(BATCH) % len(CLASSES)]

    def epoch() -> None:
        for rows in torch.randperm(CLIPS).split(BATCH):
            made.batch(rows, target)

    return epoch


def fed(clips: ClipSet) -> Iterator[Row]:
    """What a net is fed with."""
    every = f"inputs of an epoch of {CLIPS} clips of {SECONDS:g} s"
    again = "the same from samples in every epoch"
    for what, values, stage in (
        ("features kept", {}, "feature"),
        ("with pitch, stretch and noise, thinned spectra kept", PITCH | NOISE, "spectrum"),
        ("with random crops of 2 s, band power kept", CROP, "bands"),
    ):
        ways = epoch_of(values, clips, "wave", keep=False), epoch_of(values, clips, stage)
        yield compare(f"{every}, {what}", again, *ways)
    for what, values, stage in (
        ("pitch and stretch by warped banks", PITCH, "spectrum"),
        ("noise on band power", NOISE, "bands"),
    ):
        ways = (
            epoch_of(values | {"augment.exact": True}, clips, "wave"),
            epoch_of(values, clips, stage),
        )
        yield compare(f"{every}, {what}", "on the wave (`augment.exact`)", *ways, rounds=3)
    feature, warp = fresh(PITCH).feature, Warp(torch.linspace(0.9, 1.1, BATCH), *torch.zeros(2, BATCH))
    power = feature.power(waves(clips.take(range(BATCH), 0, round(SECONDS * RATE)), "cpu"))
    thin = feature.thin(power)
    yield compare(
        f"warped banks of {BATCH} clips of {SECONDS:g} s, on thinned spectra",
        "one product with exact banks, on whole spectra",
        lambda: torch.bmm(power[:, 0], feature.bank.weights(warp)),
        lambda: feature.warped(thin, warp),
        rounds=15,
    )
    model = fresh(SMALL)
    views = Views(clips.subset(range(CLIPS)), model.recipe, model.feature, model.device)
    kept = list(views)
    yield compare(
        f"{CLIPS} validation clips judged, 8-64 on 40 x 128, features kept",
        "features computed in every epoch",
        lambda: predict(model.net, views),
        lambda: predict(model.net, kept),
    )


def transforms(clips: ClipSet) -> Iterator[Row]:
    """From samples to log-mel."""
    from torchaudio.transforms import AmplitudeToDB, MelSpectrogram

    rows, begins, length = np.arange(32), np.zeros(32, np.int64), round(SECONDS * RATE)
    floats = clips.samples.astype(np.float32) / 32768

    def gathered() -> Tensor:
        return waves(clips.take(rows, begins, length), "cpu")

    def stacked(samples: np.ndarray) -> Tensor:
        return torch.from_numpy(np.stack([samples[at : at + length] for at in clips.starts[rows]]))

    what = "32 clips of 5 s gathered as int16, given as float32"
    for other, slow in (
        ("stacked clip by clip, given as float32", lambda: waves(stacked(clips.samples), "cpu")),
        ("stacked from float32: twice the memory", lambda: stacked(floats)),
    ):
        yield compare(what, other, slow, gathered, rounds=15)
    wave_BT = gathered()
    ours = LogMel(LogMelConfig(n_fft=1024, hop=512, n_mels=64, fmin=0.0), RATE).eval()
    sizes = {"n_fft": 1024, "hop_length": 512, "n_mels": 64}
    slaney = {"norm": "slaney", "mel_scale": "slaney", "pad_mode": "constant"}
    theirs = nn.Sequential(MelSpectrogram(RATE, **sizes, **slaney), AmplitudeToDB())

    def usual() -> None:
        for wave in wave_BT.numpy():
            librosa.power_to_db(librosa.feature.melspectrogram(y=wave, sr=RATE, **sizes))

    def whole() -> None:
        with patch.object(spectrograms, "CACHE", 1 << 40):
            ours(wave_BT)

    what = "log-mel of 32 clips of 5 s, 1024/512/64"
    yield compare(what, "librosa per clip", usual, lambda: ours(wave_BT))
    yield compare(what, "torchaudio on the batch", lambda: theirs(wave_BT), lambda: ours(wave_BT))
    yield compare(f"{what}, in parts of the size of the cache", "in one", whole, lambda: ours(wave_BT))
    power = ours.power(wave_BT)
    for bands in (64, 128):
        bank = LogMel(LogMelConfig(n_fft=1024, n_mels=bands, fmin=300.0), RATE).bank
        ways = (lambda bank=bank: power @ bank.bank_FM), (lambda bank=bank: bank(power))
        yield compare(f"product with {bands} mel bands in groups", "with the whole matrix", *ways)


@cache
def opened(root: Path, folder: Path) -> ClipSet:
    """The clips of a fit, in a process of its own."""
    return open_store(open_dataset(root), RATE, folder).subset(range(CLIPS))


def fits(place: tuple[Path, Path], values: Values, epochs: int, threads: int, count: int) -> None:
    """So many whole fits, one after the other."""
    torch.set_num_threads(threads)
    for seed in range(count):
        fit(parse(COMMON | values), opened(*place), None, epochs=epochs, seed=seed)


def processes(place: tuple[Path, Path]) -> Iterator[Row]:
    """Whole fits in processes of their own."""
    spawn = multiprocessing.get_context("spawn")

    def pairs(pool: Pool, values: Values, epochs: int, threads: int) -> None:
        if threads == 1:
            pool.starmap(fits, [(place, values, epochs, 1, 1)] * 2, chunksize=1)
        else:
            pool.apply(fits, (place, values, epochs, threads, 2))

    with spawn.Pool(2) as usual:
        for name, values, epochs in (("8-64, 40 x 128", SMALL, 4), ("16-128, 64 x 216", MIDDLE, 1)):
            yield compare(
                f"two fits of a mel CNN {name}, side by side, a thread each",
                "one after the other, two threads each",
                lambda values=values, epochs=epochs: pairs(usual, values, epochs, 2),
                lambda values=values, epochs=epochs: pairs(usual, values, epochs, 1),
                rounds=3,
            )
        import search.cluster  # noqa: F401  from here on, new processes keep freed memory as its workers do

        with spawn.Pool(1) as keeping:
            for name, values, epochs in (
                ("mel CNN 16-128", MIDDLE, 3),
                ("ACDNet of width 1/4, 1.5 s", ACDNET, 2),
            ):
                what = f"fit in a process that keeps freed memory (glibc): {name}"
                yield compare(
                    what,
                    "in one that does not",
                    lambda values=values, epochs=epochs: usual.apply(fits, (place, values, epochs, 1, 1)),
                    lambda values=values, epochs=epochs: keeping.apply(fits, (place, values, epochs, 1, 1)),
                )


def options() -> Iterator[Row]:
    """What is not done unless it is chosen."""
    wide, narrow = fresh(MIDDLE), fresh(SMALL | MIDDLE)
    ways = training(wide.net, batch(wide), 3), training(narrow.net, batch(narrow), 3)
    yield compare("`feature.n_mels` 40, `feature.hop` 868: mel CNN 16-128 on 40 x 128", "on 64 x 216", *ways)
    if torch.cpu._is_amx_tile_supported():
        for name, (values, count) in list(NETS.items())[:3]:
            model = fresh(values)
            x = batch(model)
            ways = training(model.net, x, count), training(model.net, x, count, half=True)
            yield compare(f"`optim.precision: bfloat16`: {name}", "float32, the default", *ways)


def main() -> None:
    """Measure everything, print and write the section."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory(prefix="escsearch-bench-") as scratch:
        folder = Path(scratch) / "cache"
        dataset = data(Path(scratch))
        clips = open_store(dataset, RATE, folder)
        tables = {
            "The net: training steps, batch 16": [*nets(), *steps()],
            "What it is fed with": [*fed(clips), *transforms(clips)],
            "Processes": list(processes((dataset.root, folder))),
            "Off unless it is chosen": list(options()),
        }
    amx = "with" if torch.cpu._is_amx_tile_supported() else "without"
    lines = [
        *prose(
            f"""
            {about(dataset, "torch", "torchaudio", "librosa")} The processor is one {amx} AMX (units for products of
            bfloat16). One thread unless the row says otherwise; medians of 3 to 15 alternating rounds. A ratio above 1
            means that what is done here is faster. Times are those of a round: 12, 3 or 1 steps of the small,
            middle and large net. Inputs are timed without what is computed once in a training; the tables of
            whole fits count it.
            """
        )
    ]
    for title, rows in tables.items():
        lines += [f"### {title}", "", *ratios(rows), ""]
    write_section(PERFORMANCE, "parts", lines)


if __name__ == "__main__":
    main()
