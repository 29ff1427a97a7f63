"""The shipped model as MLflow runs it ("models from code"): audio in, a table of labels out.

MLflow copies this one file into the model, beside the bundle that `bundle.py` writes. It stands alone: it imports
nothing of this project but the code inside the bundle, under a name made from the content of that code, so that two
versions of a model in one process never share code and escsearch need not be installed.

Input: a table with a column `audio` (bytes of an encoded WAV, FLAC, OGG or MP3 file), `path` (a file on this
machine), or both (`path` then only names the row).
Output: a table of `file, start, end` (seconds), `label, probability` (0..1), `probabilities` (of all classes, in the
order of the model's metadata). One row a file; with params `windows` one row a window, with `top_k` n rows each.
"""

import hashlib
import importlib
import importlib.util
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.pyfunc.model import PythonModel

COLUMNS = ["file", "start", "end", "label", "probability", "probabilities"]
SERVED = "__pyfunc_model_path__"  # MLflow sets this variable in the processes of its scoring server


class SoundClassifier(PythonModel):
    """Classifies sounds of any rate, length and number of channels."""

    def load_context(self, context: Any) -> None:
        """Called by MLflow when the model is loaded."""
        self.load(Path(context.artifacts["bundle"]))

    def load(self, bundle: Path) -> None:
        """Unpack a bundle folder, on the GPU where there is one."""
        classifier, self._audio = _shipped_code(bundle / "code")
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
        self._classifier = classifier.Classifier.unpack(bundle, device=device)
        self.classes: tuple[str, ...] = tuple(self._classifier.classes)
        self.card: Mapping[str, Any] = json.loads((bundle / "card.json").read_text(encoding="utf-8"))

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: Mapping[str, Any] | None = None
    ) -> pd.DataFrame:
        """Classify a table (see the module) or a list of paths.

        params: `windows` (one row a window, default false), `top_k` (labels a file or window, default 1).
        Raises `MlflowException` (a served request gets 400) for a missing column and for audio that cannot be
        decoded, naming the file.
        """
        params = params or {}
        top_k = int(params.get("top_k", 1))
        if top_k < 1:
            raise MlflowException.invalid_parameter_value(f"top_k must be at least 1, got {top_k}")
        windows = bool(params.get("windows", False))
        rows = [
            row for name, source in _sources(model_input) for row in self._rows(name, source, windows, top_k)
        ]
        return pd.DataFrame(rows, columns=COLUMNS)

    def _rows(self, name: str, source: str | bytes, windows: bool, top_k: int) -> Iterator[tuple[Any, ...]]:
        start_W, end_W, prob_WK, seconds = self._windows(name, source)
        if not windows:
            start_W, end_W, prob_WK = [0.0], [seconds], prob_WK.mean(axis=0, dtype="float64", keepdims=True)
        for start, end, prob_K in zip(start_W, end_W, prob_WK, strict=True):
            everything = [float(probability) for probability in prob_K]
            for place in (-prob_K).argsort(kind="stable")[:top_k]:
                yield name, float(start), float(end), self.classes[place], everything[place], everything

    def _windows(self, name: str, source: str | bytes) -> tuple[Any, Any, Any, float]:
        rate = self._classifier.recipe.data.sample_rate
        try:
            wave_T, recorded = self._audio.decode(source, name)
        except self._audio.AudioError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error
        wave_T = self._audio.resample(wave_T, recorded, rate)
        return *self._classifier.windows(wave_T), len(wave_T) / rate


def _sources(model_input: Any) -> list[tuple[str, str | bytes]]:
    """(name, path or bytes) of every row. A bad table is refused before any audio is read."""
    if not isinstance(model_input, pd.DataFrame):
        model_input = pd.DataFrame({"path": [str(path) for path in _listed(model_input)]})
    present = [column for column in ("audio", "path") if column in model_input.columns]
    if not present:
        raise MlflowException.invalid_parameter_value(
            "the input needs a column `audio` (bytes of a WAV, FLAC, OGG or MP3 file) or `path`, "
            f"got {[str(column) for column in model_input.columns]}"
        )
    sources: list[tuple[str, str | bytes]] = []
    for number, row in enumerate(model_input[present].to_dict("records")):
        content, path = row.get("audio"), row.get("path")
        if isinstance(content, bytes | bytearray | memoryview):
            sources.append((path if isinstance(path, str) else f"audio[{number}]", bytes(content)))
        elif isinstance(path, str) and (content is None or content != content):  # absent, or pandas' NaN
            sources.append((path, path))
        else:
            raise MlflowException.invalid_parameter_value(
                f"row {number} of the input needs bytes in `audio` or text in `path`, "
                f"got {type(content if 'audio' in present else path).__name__}"
            )
    if os.environ.get(SERVED) and any(isinstance(source, str) for _, source in sources):
        raise MlflowException.invalid_parameter_value(
            "a served model reads no files: send the bytes of the file in the column `audio`"
        )
    return sources


def _listed(model_input: Any) -> Iterable[Any]:
    if isinstance(model_input, str | os.PathLike):
        return [model_input]
    if isinstance(model_input, Iterable) and not isinstance(model_input, Mapping | bytes):
        return model_input
    raise MlflowException.invalid_parameter_value(
        f"the input is a table or a list of paths, not {type(model_input).__name__}"
    )


def _shipped_code(code: Path) -> tuple[ModuleType, ModuleType]:
    """The modules `classifier` and `audio` of a bundle, under a name that only this very code has."""
    digest = hashlib.sha256()
    for file in sorted(code.rglob("*.py")):
        digest.update(f"{file.relative_to(code).as_posix()}\0".encode() + file.read_bytes() + b"\0")
    name = f"esc_model_{digest.hexdigest()[:16]}"
    with _no_bytecode():
        package = _module(name, code / "escmodels" / "__init__.py", search=[str(code / "escmodels")])
        # the first copy of this code may be gone by now (a temporary download)
        package.__path__ = [str(code / "escmodels")]
        classifier = importlib.import_module(f"{name}.classifier")
        return classifier, _module(f"{name}_audio", code / "audio.py", search=None)


def _module(name: str, file: Path, search: list[str] | None) -> ModuleType:
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file, submodule_search_locations=search)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


@contextmanager
def _no_bytecode() -> Iterator[None]:
    """Importing must leave no `__pycache__` in the model's folder: it may be the registry's own copy."""
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        yield
    finally:
        sys.dont_write_bytecode = before


mlflow.models.set_model(SoundClassifier())
