"""The shipped model as MLflow runs it ("models from code"): audio in, a table of labels out.

MLflow copies this one file into the model, beside the bundle that `bundle.py` writes. It stands alone: it imports
nothing of this project but the code inside the bundle, under a name made from the content of that code, so that two
versions of a model in one process never share code and escsearch need not be installed.

Input: a table with a column `audio` (bytes of an encoded WAV, FLAC, OGG or MP3 file), or `samples` (numbers in
[-1, 1], mono) and `rate` (Hz), or `path` (a file on this machine; beside another column it only names the row).
Output: a table of `file, start, end` (seconds), `label, probability` (0..1), `probabilities` (of all classes, in the
order of the model's metadata). One row a file; with params `windows` one row a window, with `top_k` n rows each.
"""

import hashlib
import importlib
import importlib.util
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.pyfunc.model import PythonModel

KNOWN = ("audio", "samples", "rate", "path")
COLUMNS = ["file", "start", "end", "label", "probability", "probabilities"]
Row = tuple[str, float, float, str, float, list[float]]
Source = str | bytes | tuple[Any, float]  # a path, an encoded file, or samples and their rate in Hz
TOGETHER = 60.0  # seconds of sound that are judged together
LOUDEST = 8.0  # of samples that are meant to lie in [-1, 1]; what is louder is integers, not a wave
LOWEST, HIGHEST = 1000, 10_000_000  # Hz
SERVED = "__pyfunc_model_path__"  # MLflow sets this variable in the processes of its scoring server


class SoundClassifier(PythonModel):
    """Classifies sounds of any rate, length and number of channels."""

    def load_context(self, context: Any) -> None:
        """Called by MLflow when the model is loaded."""
        self.load(Path(context.artifacts["bundle"]))

    def load(self, bundle: Path) -> None:
        """Unpack a bundle folder, on the GPU where there is one."""
        unpack, self._audio = _shipped_code(bundle)
        import torch

        self._classifier = unpack(bundle, device="cuda" if torch.cuda.is_available() else "cpu")
        self.classes: tuple[str, ...] = tuple(self._classifier.classes)
        self.rate: int = self._classifier.recipe.data.sample_rate  # Hz
        self.crop: float = self._classifier.recipe.data.crop  # seconds of a window
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
        rows: list[Row] = []
        for _, found, _ in self.each(_sources(model_input), windows, top_k):
            if isinstance(found, str):
                raise MlflowException.invalid_parameter_value(found)
            rows += found
        return pd.DataFrame(rows, columns=COLUMNS)

    def each(
        self, sources: Iterable[tuple[str, Source]], windows: bool = False, top_k: int = 1
    ) -> Iterator[tuple[str, list[Row] | str, float]]:
        """Name by name, in order: its rows (of `COLUMNS`), or in a sentence why it cannot be used; its seconds.

        Sounds share the batches of the net, up to `TOGETHER` seconds of them. Several threads may call it at once.
        """
        held: list[tuple[str, Any]] = []  # a wave [T], or why there is none
        seconds = 0.0
        for name, source in sources:
            try:
                wave_T = self._wave(name, source)
                seconds += len(wave_T) / self.rate
                held.append((name, wave_T))
            except self._audio.AudioError as error:
                held.append((name, str(error)))
            if seconds >= TOGETHER:
                yield from self._judged(held, windows, top_k)
                held, seconds = [], 0.0
        yield from self._judged(held, windows, top_k)

    def _judged(
        self, held: list[tuple[str, Any]], windows: bool, top_k: int
    ) -> Iterator[tuple[str, list[Row] | str, float]]:
        found = iter(self._found([wave for _, wave in held if not isinstance(wave, str)]))
        for name, wave in held:
            if isinstance(wave, str):
                yield name, wave, 0.0
            else:
                seconds = len(wave) / self.rate
                yield name, list(self._rows(name, seconds, next(found), windows, top_k)), seconds

    def _found(self, waves: list[Any]) -> list[tuple[Any, ...]]:
        """Of each sound: start and end of its windows, their probabilities, and those of the whole."""
        if hasattr(self._classifier, "judge"):
            return self._classifier.judge(waves)
        # the code in a bundle of format 2: one sound at a time, without a temperature
        each = [self._classifier.windows(wave) for wave in waves]
        return [(*one, one[2].mean(axis=0, dtype="float64")) for one in each]

    def _rows(self, name: str, seconds: float, found: Any, windows: bool, top_k: int) -> Iterator[Row]:
        start_W, end_W, prob_WK, clip_K = found
        if not windows:
            start_W, end_W, prob_WK = [0.0], [seconds], clip_K[None]
        for start, end, prob_K in zip(start_W, end_W, prob_WK, strict=True):
            everything = [float(probability) for probability in prob_K]
            for place in (-prob_K).argsort(kind="stable")[:top_k]:
                yield name, float(start), float(end), self.classes[place], everything[place], everything

    def _wave(self, name: str, source: Source) -> Any:
        """float32 [T] at the model's rate. Raises the shipped code's `AudioError`."""
        if isinstance(source, tuple):
            wave_T, recorded = self._given(name, *source)
        else:
            wave_T, recorded = self._audio.decode(source, name)
        return self._audio.resample(wave_T, recorded, self.rate)

    def _given(self, name: str, samples: Any, rate: float) -> tuple[Any, int]:
        """Samples [T], or [T, channels], and their rate, checked."""
        wrong = self._audio.AudioError
        try:
            samples_TC = np.asarray(samples, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise wrong(name, "its `samples` are no list of numbers") from error
        if samples_TC.ndim not in (1, 2) or samples_TC.size == 0:
            raise wrong(
                name, f"its `samples` have shape {list(samples_TC.shape)}, expected one number a sample"
            )
        if samples_TC.ndim == 2 and samples_TC.shape[1] > samples_TC.shape[0]:
            shape = list(samples_TC.shape)
            raise wrong(
                name, f"its `samples` have shape {shape}, expected [samples, channels]: transpose them"
            )
        if not (isinstance(rate, int | float | np.number) and LOWEST <= rate <= HIGHEST):
            raise wrong(name, f"its `rate` is {rate}, expected {LOWEST} to {HIGHEST} Hz")
        if not np.isfinite(samples_TC).all():
            raise wrong(name, "holds samples that are NaN or infinite")
        if (peak := float(np.abs(samples_TC).max())) > LOUDEST:
            raise wrong(
                name, f"its `samples` reach {peak:g}, expected -1 to 1: divide 16-bit integers by 32768"
            )
        return samples_TC if samples_TC.ndim == 1 else samples_TC.mean(axis=1), round(rate)


def _sources(model_input: Any) -> list[tuple[str, Source]]:
    """(name, what to judge) of every row. A bad table is refused before any audio is read."""
    if not isinstance(model_input, pd.DataFrame):
        model_input = pd.DataFrame({"path": [str(path) for path in _listed(model_input)]})
    present = [column for column in KNOWN if column in model_input.columns]
    if not set(present) - {"rate"}:
        raise MlflowException.invalid_parameter_value(
            "the input needs a column `audio` (bytes of a WAV, FLAC, OGG or MP3 file), `path`, or `samples` with "
            f"`rate`, got {[str(column) for column in model_input.columns]}"
        )
    if "samples" in present and "rate" not in present:
        raise MlflowException.invalid_parameter_value(
            "the column `samples` needs a column `rate`: their sample rate in Hz"
        )
    return [_source(number, row) for number, row in enumerate(model_input[present].to_dict("records"))]


def _source(number: int, row: Mapping[Any, Any]) -> tuple[str, Source]:
    """Name and content of a row. Raises `MlflowException` for one without."""
    content, samples, path = row.get("audio"), row.get("samples"), row.get("path")
    if isinstance(content, bytes | bytearray | memoryview):
        return path if isinstance(path, str) else f"audio[{number}]", bytes(content)
    if _absent(content) and isinstance(samples, Iterable) and not isinstance(samples, str | bytes):
        return path if isinstance(path, str) else f"samples[{number}]", (samples, row["rate"])
    if _absent(content) and _absent(samples) and isinstance(path, str):
        if os.environ.get(SERVED):
            raise MlflowException.invalid_parameter_value(
                "a served model reads no files: send the bytes of the file in the column `audio`"
            )
        return path, path
    odd = next((value for value in (content, samples) if not _absent(value)), path)
    raise MlflowException.invalid_parameter_value(
        f"row {number} of the input needs bytes in `audio`, numbers in `samples` or text in `path`, "
        f"got {type(odd).__name__}"
    )


def _absent(value: Any) -> bool:
    return value is None or (isinstance(value, float) and value != value)  # pandas' NaN


def _listed(model_input: Any) -> Iterable[Any]:
    if isinstance(model_input, str | os.PathLike):
        return [model_input]
    if isinstance(model_input, Iterable) and not isinstance(model_input, Mapping | bytes):
        return model_input
    raise MlflowException.invalid_parameter_value(
        f"the input is a table or a list of paths, not {type(model_input).__name__}"
    )


def _shipped_code(bundle: Path) -> tuple[Callable[..., Any], ModuleType]:
    """What unpacks a bundle, and the module `audio`: its own code, under a name that only this very code has."""
    code, digest = bundle / "code", hashlib.sha256()
    for file in sorted(code.rglob("*.py")):
        digest.update(f"{file.relative_to(code).as_posix()}\0".encode() + file.read_bytes() + b"\0")
    name = f"esc_model_{digest.hexdigest()[:16]}"
    shipped_format = json.loads((bundle / "config.json").read_text(encoding="utf-8"))["format"]
    with _no_bytecode():
        package = _module(name, code / "escmodels" / "__init__.py", search=[str(code / "escmodels")])
        # the first copy of this code may be gone by now (a temporary download)
        package.__path__ = [str(code / "escmodels")]
        if shipped_format == 2:  # no ensembles then
            unpack = importlib.import_module(f"{name}.classifier").Classifier.unpack
        else:
            unpack = importlib.import_module(f"{name}.ensemble").unpack
        return unpack, _module(f"{name}_audio", code / "audio.py", search=None)


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
