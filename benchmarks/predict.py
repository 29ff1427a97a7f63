"""How fast files are labelled, against the usual loop, side by side in one run: `python benchmarks/predict.py`.

One untrained net of the shape that the search on ESC-10 ended with labels every file of the set, by `Model.predict`
and by two loops over librosa; both ends of a served request are not in it. Prints a table and writes it to
docs/benchmarks.md. Uses ESC-10, and the synthetic set where that is not found.
"""

import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import librosa
import numpy as np
import soundfile
import torch
from common import (
    BENCHMARKS,
    Row,
    about,
    alternate,
    data,
    duration,
    prose,
    ratios,
    table,
    told,
    write_section,
)

from escmodels.classifier import Classifier
from escmodels.clips import quantise
from escmodels.recipe import parse
from search import bundle
from search.datasets.waves.audio import decode, resample
from search.datasets.waves.beside import cores, in_order
from search.predict import Model, load_model

VALUES = {"architecture": "mel_cnn", "model.width": 20}  # log-mel 1024/512/64 of 5 s at 22.05 kHz
ROUNDS = 3
WANTED = 4.0  # times as fast as the loop
CLOSE = 1e-3  # probabilities of the same net on the same samples


def loops(folder: Path, paths: list[str], rounded: bool = False) -> dict[str, Callable[[], np.ndarray]]:
    """What a notebook does, clip by clip, with all of torch's threads: prob_NK.

    rounded: with samples rounded to int16 as the model does, which makes another thing of digital silence.
    """
    classifier = Classifier.unpack(folder)
    rate, length = classifier.recipe.data.sample_rate, classifier.recipe.data.crop_samples

    def wave(path: str) -> np.ndarray:
        wave_T = librosa.load(path, sr=rate)[0]
        late = max(0, len(wave_T) - length) // 2  # the middle, as the rule of the model has it
        cut_T = librosa.util.fix_length(wave_T[late:], size=length)
        return quantise(cut_T).astype(np.float32) / 32768 if rounded else cut_T

    def ours() -> np.ndarray:
        with torch.no_grad():
            logits = [classifier.logits(torch.from_numpy(wave(path))[None]) for path in paths]
            return torch.cat(logits).softmax(dim=1).numpy()

    def theirs() -> np.ndarray:
        found = []
        with torch.no_grad():
            for path in paths:
                mel = librosa.feature.melspectrogram(
                    y=wave(path), sr=rate, n_fft=1024, hop_length=512, n_mels=64
                )
                x = torch.from_numpy(librosa.power_to_db(mel).astype(np.float32))[None, None]
                found.append(classifier.net(x).softmax(dim=1))
        return torch.cat(found).numpy()

    return {"load": ours, "all": theirs}


def main() -> None:
    """Measure everything, print and write the section."""
    with tempfile.TemporaryDirectory(prefix="escsearch-bench-") as scratch:
        dataset = data(Path(scratch))
        paths = [str(clip.path) for clip in dataset.clips]
        torch.manual_seed(0)
        folder = bundle.write(
            Classifier.fresh(parse(VALUES), tuple(dataset.classes)), Path(scratch) / "model", card={}
        )
        model = load_model(str(folder))
        ways: dict[str, Callable[[], object]] = {
            **loops(folder, paths),
            "decoded": lambda: list(
                in_order(lambda path: resample(*decode(path), model.classifier.rate), paths)
            ),
            "read": lambda: [soundfile.read(path, dtype="float32") for path in paths],
            "alone": lambda: [model.predict(path) for path in paths],
            "ours": lambda: model.predict(paths),
        }
        furthest = apart(model, paths, loops(folder, paths, rounded=True)["load"])
        found = alternate(ways, ROUNDS, unmeasured=1)
        seconds = sum(soundfile.info(path).duration for path in paths)
    what = f"{len(paths)} files"
    contenders = {
        "all": "loop over librosa: `librosa.load`, `librosa.feature.melspectrogram`, the same net",
        "load": "loop: `librosa.load`, then feature and net of the model",
        "alone": "`Model.predict` file by file",
        "decoded": "decoding and resampling alone, a thread a core",
        "read": "`soundfile.read` alone, file by file, one thread",
    }
    rows = [told(Row(what, other, found[name], found["ours"])) for name, other in contenders.items()]
    took = {name: statistics.median(found[name]) for name in ways}
    speeds = [
        (
            name,
            f"{len(paths) / took[way]:.0f}",
            f"{seconds / took[way]:.0f}",
            duration(took[way] / len(paths)),
        )
        for name, way in {
            "`predict`": "ours",
            "the loop over librosa": "all",
            "the second loop": "load",
        }.items()
    ]
    verdict = "met" if rows[0].ratio >= WANTED else "not met"
    lines = [
        "## Labelling files",
        "",
        *prose(
            f"""
            {about(dataset, "torch", "librosa", "soundfile")} Medians of {ROUNDS} alternating rounds; the files lie
            in the memory of the machine and the model is loaded. The net is a mel CNN of width 20 on 64 bands of 5 s
            at 22.05 kHz. `predict` has {cores()} threads that decode and judge shares of the files, with one thread
            of torch each; the loops go clip by clip and have torch's own {torch.get_num_threads()}. The bar is
            {WANTED:g} times the loop over librosa: {verdict}; the second loop has our transform already. `predict`
            takes {took["ours"] / took["decoded"]:.2f} times as long as decoding alone on all cores, so no net at all
            would make it so much faster. Its probabilities and those of the second loop on samples rounded to int16
            are at most {furthest:.0e} apart (in the files that are no longer than a window).
            """
        ),
        *ratios(rows),
        "",
        *table(("way", "files/s", "times as fast as they play", "a file"), speeds),
    ]
    write_section(BENCHMARKS, "predict", lines)


def apart(model: Model, paths: list[str], loop: Callable[[], np.ndarray]) -> float:
    """The largest difference of a probability. Raises `AssertionError` where the loop does not do the same work.

    Of a file that is longer than a window the model takes several, and the loop only the one in the middle.
    """
    files = model.predict(paths)
    single_N = (files.end <= model.crop * 1.02).to_numpy()
    assert single_N.mean() > 0.9, "hardly any file is one window"
    furthest = float(np.abs(np.stack(list(files.probabilities)) - loop())[single_N].max())
    assert furthest <= CLOSE, f"the loop says something else: {furthest}"
    return furthest


if __name__ == "__main__":
    main()
