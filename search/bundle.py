"""The folder that is a model: weights, configuration, the code that runs them, and a card.

config.json weights.safetensors     what `Classifier.pack` or `Ensemble.pack` writes
code/escmodels/*.py code/audio.py   the source it was trained with; `pyfunc_model.py` runs that, never a newer one
card.json                           what it was trained on, exam figures, licence, values, size and speed
predictions.csv                     what the exam of its recipe said of each clip (`predictions.py`), if there was one
"""

import json
import shutil
import subprocess
import time
from collections.abc import Mapping
from importlib.metadata import version as installed
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

import escmodels

from .files import write_atomically

if TYPE_CHECKING:
    from escmodels.classifier import Classifier
    from escmodels.ensemble import Ensemble

CARD, CODE, CONFIG, PREDICTIONS = "card.json", "code", "config.json", "predictions.csv"
WEIGHTS = "weights.safetensors"
REFIT = "refit on all folds"  # `shipped` of a card
AUDIO = Path(__file__).with_name("datasets") / "waves" / "audio.py"
PACKAGES = ("torch", "torchaudio", "timm", "numpy", "safetensors", "soundfile", "soxr", "mlflow", "pandas")
WARM_UP, RUNS = 2, 9  # of the judgements whose time is taken


def write(
    model: "Classifier | Ensemble",
    folder: Path,
    *,
    card: Mapping[str, Any],
    predictions: Path | None = None,
) -> Path:
    """Write the bundle into `folder`, which is created and must not hold one already; returns the folder.

    predictions: the table of its exam, to be copied. Raises `FileExistsError`: a bundle is never overwritten, because
    a registered version may point at it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    package = folder / CODE / "escmodels"
    package.mkdir(parents=True)
    model.pack(folder)
    for source in sorted(_sources()):
        shutil.copyfile(source, package / source.name)
    shutil.copyfile(AUDIO, folder / CODE / "audio.py")
    if predictions is not None:
        shutil.copyfile(predictions, folder / PREDICTIONS)
    write_card(folder, card)
    return folder


def measured(model: "Classifier | Ensemble", folder: Path) -> dict[str, Any]:
    """What its card says of a written bundle: size, speed, and what it was made with.

    params: numbers in the nets of all members. size_bytes: of all files but the card. latency_ms: median time to judge
    one sound of `data.crop` seconds, from its samples on, where the model is now, on a CPU with one thread. git_commit:
    of this project's source; empty where that lies in no repository, with "-dirty" where it was changed since.
    """
    from escmodels.ensemble import Ensemble

    nets = [member.net for member in model.members] if isinstance(model, Ensemble) else [model.net]
    return {
        "temperature": model.temperature,
        "params": sum(p.numel() for net in nets for p in net.parameters()),
        "size_bytes": size(folder),
        "latency_ms": round(_latency(model), 3),
        "versions": {name: installed(name) for name in PACKAGES},
        "git_commit": _commit(),
    }


def size(folder: Path) -> int:
    """Bytes of all files of a bundle but its card."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != CARD]
    return sum(path.stat().st_size for path in files)


def shipped(members: int) -> str:
    """How a model came to be, as its card says it. members: of an ensemble; 0: it is none."""
    return f"ensemble of {members} fold models" if members else REFIT


def write_card(folder: Path, card: Mapping[str, Any]) -> None:
    """Write or replace the card of a bundle."""
    text = json.dumps(dict(card), indent=2, sort_keys=True, default=str)
    write_atomically(folder / CARD, text + "\n")


def read_card(folder: Path) -> dict[str, Any]:
    """The card of a bundle."""
    return json.loads((folder / CARD).read_text(encoding="utf-8"))


def is_bundle(folder: Path) -> bool:
    """Whether a folder was made by `write`."""
    return (folder / CONFIG).is_file() and (folder / CODE / "escmodels").is_dir()


def _sources() -> list[Path]:
    assert escmodels.__file__ is not None
    return list(Path(escmodels.__file__).parent.glob("*.py"))


def _latency(model: "Classifier | Ensemble") -> float:
    import torch

    noise_T = np.random.default_rng(0).normal(0, 0.1, model.recipe.data.crop_samples)
    seconds: list[float] = []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for _ in range(WARM_UP + RUNS):
            began = time.perf_counter()
            model.judge([noise_T])
            seconds.append(time.perf_counter() - began)
    finally:
        torch.set_num_threads(threads)
    return 1000 * median(seconds[WARM_UP:])


def _commit() -> str:
    """Of the repository that this file is part of, which one it merely lies in (a `.venv` inside it) is not."""
    here = Path(__file__)
    words = ("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    try:
        for command in (("ls-files", "--error-unmatch", here.name), words):
            told = subprocess.run(
                ["git", *command], cwd=here.parent, capture_output=True, text=True, timeout=10, check=True
            )
    except (OSError, subprocess.SubprocessError):
        return ""
    return told.stdout.strip()
