"""Find a model by name, feed it sound files.

>>> from search import load_model
>>> model = load_model("models:/esc10@champion")  # doctest: +SKIP
>>> model.predict(["dog.ogg"])[["label", "probability"]]  # doctest: +SKIP
"""

import glob
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import registry
from .bundle import is_bundle
from .datasets.waves.beside import cores, in_order
from .errors import Failure, UsageError
from .settings import Settings, resolve

if TYPE_CHECKING:
    import pandas as pd

Sound = str | Path | bytes | tuple[Any, float]
Row = tuple[str, float, float, str, float, list[float]]
COLUMNS = ("file", "start", "end", "label", "probability", "probabilities")
SHARE = 12  # sounds that one thread decodes and judges at a time
SOUNDS = frozenset({".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf", ".w64"})
REGISTERED = re.compile(r"(?:models:/)?(?P<name>[^@/:]+)(?:@(?P<alias>[^@/:]+)|/(?P<version>\d+))?")
OWN_CODE = "esc_model_"  # what pyfunc_model.py calls the code in a bundle
LOGGED = re.compile(r"runs:/.+|models:/m-[0-9a-f]{32}")


@dataclass(frozen=True)
class Model:
    """A loaded model. `name` is what was found, with its version."""

    name: str
    classifier: Any  # the SoundClassifier of the model's own pyfunc_model.py

    @property
    def classes(self) -> tuple[str, ...]:
        """Labels in the order of `probabilities`."""
        return self.classifier.classes

    @property
    def crop(self) -> float:
        """Seconds of a window."""
        return self.classifier.crop

    @property
    def card(self) -> Mapping[str, Any]:
        """What the model was trained on, its exam, licence and values."""
        return self.classifier.card

    def predict(
        self, sounds: Iterable[Sound] | Sound, *, windows: bool = False, top_k: int = 1
    ) -> "pd.DataFrame":
        """One row a sound (`windows`: a window; `top_k`: n rows each).

        sounds: paths, bytes of encoded files, or samples `[T]` in [-1, 1] with their rate in Hz as a tuple.
        Columns: file, start, end (seconds), label, probability, probabilities (of `classes`).
        Raises `UsageError` naming the first file that cannot be decoded.
        """
        import pandas as pd

        several = [sounds] if isinstance(sounds, str | Path | bytes | tuple) else list(sounds)
        rows: list[Row] = []
        for _, found, _ in self.each(several, windows=windows, top_k=top_k):
            if isinstance(found, str):
                raise UsageError(found)
            rows += found
        return pd.DataFrame(rows, columns=list(COLUMNS))

    def each(
        self,
        sounds: Sequence[Sound],
        *,
        names: Sequence[str] | None = None,
        windows: bool = False,
        top_k: int = 1,
    ) -> Iterator[tuple[str, list[Row] | str, float]]:
        """Sound by sound, in order: its name, its rows (of `COLUMNS`) or why it could not be read, and its seconds.

        names: what the sounds are called (default: their paths, or their numbers).

        A thread a core decodes and judges a share of the sounds at a time; until the last result torch has one
        thread in each. One sound alone has all of torch's threads.
        """
        if top_k < 1:
            raise UsageError(f"top_k must be at least 1, got {top_k}")
        called = names or [_name(number, sound) for number, sound in enumerate(sounds)]
        sources = [str(sound) if isinstance(sound, Path) else sound for sound in sounds]
        named = list(zip(called, sources, strict=True))
        if len(named) < 2:
            yield from _timed(self.classifier.each(named, windows, top_k))
            return
        share = max(1, min(SHARE, len(named) // (2 * cores())))
        shares = [named[at : at + share] for at in range(0, len(named), share)]
        with _one_thread_each():
            for found in in_order(lambda part: list(self.classifier.each(part, windows, top_k)), shares):
                yield from _timed(found)


def _timed(found: Iterable[Any]) -> Iterator[tuple[str, list[Row] | str, float]]:
    """What a model yields. An older one does not say how long a sound was: its last window ends with it, if heard."""
    for name, rows, *seconds in found:
        yield name, rows, seconds[0] if seconds else 0.0 if isinstance(rows, str) else rows[-1][2]


def _name(number: int, sound: Sound) -> str:
    if isinstance(sound, str | Path):
        return str(sound)
    return f"{'audio' if isinstance(sound, bytes) else 'samples'}[{number}]"


@dataclass(frozen=True)
class Found:
    """Where a model is."""

    name: str  # with its version
    uri: str  # a folder, or what MLflow calls it
    settings: Settings | None  # of the stores that know the URI; None for a folder

    @property
    def bundle(self) -> bool:
        """Whether it is a bundle, which only `SoundClassifier.load` understands."""
        return self.settings is None and is_bundle(Path(self.uri))


def load_model(model: str, settings: Settings | None = None) -> Model:
    """Load by name, with pickle forbidden and without making a database.

    model: `models:/NAME@ALIAS`, `models:/NAME/3`, `NAME` (its champion), `runs:/ID/model`, `models:/m-ID`, or a
        folder (a bundle, or a model folder of MLflow).
    settings: default from the environment, as on the command line.
    Raises `UsageError` for what does not exist, naming what does, and for what is damaged; `Failure` where a package
    is missing that the model needs.
    """
    found = locate(model, settings)
    if not found.bundle:
        return Model(found.name, load_pyfunc(found).unwrap_python_model())
    registry.quiet_mlflow()
    from .pyfunc_model import SoundClassifier

    classifier = SoundClassifier()
    with unpacking(found.name):
        classifier.load(Path(found.uri))
    return Model(found.name, classifier)


def locate(model: str, settings: Settings | None = None) -> Found:
    """What `load_model` would load, and errors as there."""
    folder = Path(model).expanduser()
    if folder.is_dir() and is_bundle(folder) or (folder / "MLmodel").is_file():
        return Found(model, str(folder), None)
    settings = settings or resolve({})
    if LOGGED.fullmatch(model):
        return Found(model, model, settings)
    match = REGISTERED.fullmatch(model)
    if match is None or model.startswith("."):
        held = (
            "there is a folder of that name, but it holds no model" if folder.is_dir() else "no such folder"
        )
        raise UsageError(
            f"{model!r} is no model: {held}; expected models:/NAME@ALIAS, models:/NAME/VERSION, NAME or a folder"
        )
    card = registry.find(settings, match["name"], match["alias"] or match["version"] or registry.CHAMPION)
    return Found(f"{card.name} version {card.version}", card.uri, settings)


def load_pyfunc(found: Found) -> Any:
    """MLflow's `PyFuncModel` of what is no bundle. Raises as `load_model` does; `UsageError` for what is not ours."""
    registry.quiet_mlflow()
    from mlflow import pyfunc
    from mlflow.exceptions import MlflowException

    with registry.connected(found.settings) if found.settings else nullcontext():
        try:  # inside: what comes out of a connection has become a failure of the store
            with registry.pickle_forbidden(), unpacking(found.name):
                loaded = pyfunc.load_model(found.uri)
        except MlflowException as error:
            raise UsageError(
                f"model {found.uri} cannot be loaded: {' '.join(str(error).split())[:300]}"
            ) from error
    if not hasattr(loaded.unwrap_python_model(), "each"):
        raise UsageError(f"model {found.uri} was not made by escsearch, or by an older one: ship it again")
    return loaded


@contextmanager
def unpacking(model: str) -> Iterator[None]:
    """Around all that reads a model: says in a sentence that it is damaged (`UsageError`) or lacks a package."""
    try:
        yield
    except (ImportError, OSError, ValueError, KeyError, SyntaxError) as error:
        package = (error.name or "").partition(".")[0] if isinstance(error, ImportError) else ""
        if package and not package.startswith(OWN_CODE):
            raise Failure(
                f"model {model} cannot be loaded: it needs {package}, which is not installed: pip install {package}"
            ) from error
        reason = f"{' '.join(str(error).split())[:300]} ({type(error).__name__})"
        elsewhere = isinstance(error, OSError) and not isinstance(
            error, FileNotFoundError
        )  # a disk, a network
        advice = "" if elsewhere else "; ship it again with 'promote STUDY'"
        raise UsageError(f"model {model} cannot be loaded: {reason}{advice}") from error


def collect(arguments: Sequence[str]) -> list[Path]:
    """The sound files that were named, those in named folders included, in order and once each.

    arguments: files, folders, and patterns such as `recordings/**/*.wav` that the shell has left alone.
    Raises `UsageError` for a path that is not there, a pattern that nothing matches and a folder without sounds.
    """
    found: dict[Path, None] = {}
    for argument in arguments:
        path = Path(argument).expanduser()
        if path.exists():
            inside = dict.fromkeys(_inside(path))
            if not inside:
                raise UsageError(f"{path} holds no sound file ({' '.join(sorted(SOUNDS))})")
            found |= inside
            continue
        if not glob.has_magic(argument):
            raise UsageError(f"no sound file or folder at {path}")
        matches = sorted(Path(match) for match in glob.iglob(str(path), recursive=True))
        inside = dict.fromkeys(file for match in matches for file in _inside(match))
        if not inside:
            raise UsageError(f"no sound file matches {argument!r}")
        found |= inside
    return list(found)


def listed(lines: Iterable[str]) -> list[Path]:
    """The paths in a list, one a line, once each; whether they are there turns out when they are read."""
    return list(dict.fromkeys(Path(line.strip()).expanduser() for line in lines if line.strip()))


def _inside(path: Path) -> list[Path]:
    """A file itself, whatever it is called; of a folder the sounds in it, in order."""
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.rglob("*") if file.suffix.lower() in SOUNDS and file.is_file())


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Threads side by side that had torch's several threads each would stand in each other's way."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
