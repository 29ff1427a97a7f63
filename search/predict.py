"""Find a model by name, feed it sound files.

>>> from search import load_model
>>> model = load_model("models:/esc10@champion")  # doctest: +SKIP
>>> model.predict(["dog.ogg"])[["label", "probability"]]  # doctest: +SKIP
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import registry
from .bundle import is_bundle
from .errors import UsageError
from .settings import Settings, resolve

if TYPE_CHECKING:
    import pandas as pd

SOUNDS = frozenset({".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf", ".w64"})
REGISTERED = re.compile(r"(?:models:/)?(?P<name>[^@/:]+)(?:@(?P<alias>[^@/:]+)|/(?P<version>\d+))?")
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
    def card(self) -> Mapping[str, Any]:
        """What the model was trained on, its exam, licence and values."""
        return self.classifier.card

    def predict(
        self, paths: Iterable[str | Path] | str | Path, *, windows: bool = False, top_k: int = 1
    ) -> "pd.DataFrame":
        """One row a file (`windows`: a window; `top_k`: n rows each).

        Columns: file, start, end (seconds), label, probability, probabilities (of `classes`).
        Raises `UsageError` naming the first file that cannot be decoded.
        """
        from mlflow.exceptions import MlflowException

        listed = [paths] if isinstance(paths, str | Path) else list(paths)
        try:
            return self.classifier.predict(None, listed, {"windows": windows, "top_k": top_k})
        except MlflowException as error:
            raise UsageError(str(error.message)) from error

    def each(
        self, paths: Iterable[Path], *, windows: bool = False, top_k: int = 1
    ) -> Iterator[tuple[Path, "pd.DataFrame | str"]]:
        """File by file: its rows, or why it could not be read."""
        for path in paths:
            try:
                yield path, self.predict(path, windows=windows, top_k=top_k)
            except UsageError as error:
                yield path, str(error)


def load_model(model: str, settings: Settings | None = None) -> Model:
    """Load by name, with pickle forbidden and without making a database.

    model: `models:/NAME@ALIAS`, `models:/NAME/3`, `NAME` (its champion), `runs:/ID/model`, `models:/m-ID`, or a
        folder (a bundle, or a model folder of MLflow).
    settings: default from the environment, as on the command line.
    Raises `UsageError` for what does not exist, naming what does.
    """
    folder = Path(model).expanduser()
    if folder.is_dir() and is_bundle(folder):
        return Model(model, _from_bundle(folder))
    if (folder / "MLmodel").is_file():
        return Model(model, _from_mlflow(str(folder)))
    settings = settings or resolve({})
    if LOGGED.fullmatch(model):
        with registry.connected(settings):
            return Model(model, _from_mlflow(model))
    match = REGISTERED.fullmatch(model)
    if match is None or model.startswith("."):
        held = (
            "there is a folder of that name, but it holds no model" if folder.is_dir() else "no such folder"
        )
        raise UsageError(
            f"{model!r} is no model: {held}; expected models:/NAME@ALIAS, models:/NAME/VERSION, NAME or a folder"
        )
    card = registry.find(settings, match["name"], match["alias"] or match["version"] or registry.CHAMPION)
    with registry.connected(settings):
        return Model(f"{card.name} version {card.version}", _from_mlflow(card.uri))


def collect(arguments: Sequence[str]) -> list[Path]:
    """The sound files that were named, those in named folders included, in order and once each.

    Raises `UsageError` for a path that is not there and for a folder without sounds.
    """
    found: dict[Path, None] = {}
    for argument in arguments:
        path = Path(argument).expanduser()
        if not path.exists():
            raise UsageError(f"no sound file or folder at {path}")
        inside = sorted(file for file in path.rglob("*") if file.suffix.lower() in SOUNDS and file.is_file())
        if path.is_dir() and not inside:
            raise UsageError(f"{path} holds no sound file ({' '.join(sorted(SOUNDS))})")
        found |= dict.fromkeys(inside if path.is_dir() else [path])
    return list(found)


def _from_bundle(folder: Path) -> Any:
    registry.quiet_mlflow()
    from .pyfunc_model import SoundClassifier

    classifier = SoundClassifier()
    classifier.load(folder)
    return classifier


def _from_mlflow(uri: str) -> Any:
    registry.quiet_mlflow()
    from mlflow import pyfunc
    from mlflow.exceptions import MlflowException

    try:
        with registry.pickle_forbidden():
            loaded = pyfunc.load_model(uri).unwrap_python_model()
    except (MlflowException, OSError) as error:
        raise UsageError(f"model {uri} cannot be loaded: {' '.join(str(error).split())[:300]}") from error
    if not hasattr(loaded, "classes"):
        raise UsageError(f"model {uri} was not made by escsearch")
    return loaded
