"""A model as one ONNX file: for programs without Python or torch. Written only if it says what the model says.

The graph takes waves [batch, samples], float32 in [-1, 1] at the model's rate, and gives probabilities
[batch, classes] with the temperature included. It judges one window each; how a long sound is cut into windows and
summed up stands in the file's metadata (`META`).

Shape letters: B batch, T samples, W windows, K classes.
"""

import json
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from escmodels.clips import SLACK

from .errors import Failure, UsageError

if TYPE_CHECKING:
    from .predict import Model

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
OPSET = 20  # of ONNX's operators
AGREEMENT = 1e-4  # by which no probability may differ
SILENCE = 8 / 32768  # a window whose samples are all below it is silent (escmodels/clips.py)
META = {
    "classes": "JSON list, in the order of the probabilities",
    "sample_rate": "Hz",
    "window_samples": "length of a window (data.crop)",
    "hop_samples": "samples from one window of a longer sound to the next",
    "slack_samples": "a sound longer than a window by no more than this gets one window",
    "least_windows": "a sound that gets several windows gets at least so many",
    "windows": "where they begin, from these numbers",
    "pad": "what a shorter sound is filled up with: zero, or tile (itself again)",
    "any_length": "true: the graph takes any number of samples from a window's on; false: exactly a window's",
    "temperature": "already in the graph: p is softmax(log q / temperature) of the net's q",
    "aggregation": "how windows of one sound become its probabilities",
    "model": "where it comes from",
    "card": "JSON: training data, licence, exam",
}
WINDOWS = (  # `ClipSet.windows`
    "of a sound of n samples: room = max(n - window_samples, 0); "
    "more = ceil(max(room - slack_samples, 0) / hop_samples); "
    "if more is 0: one window, which begins at room // 2 (a shorter sound is filled up as `pad` says); "
    "else if more < least_windows - 1: more = min(least_windows - 1, room), and windows begin at i * room // more for "
    "i = 0..more; else they begin at i * hop_samples for i = 0..more - 1, and the last one at room"
)
AGGREGATION = (
    "leave out silent windows (all samples below 8/32768) unless all are; q = normalised p ** temperature of each, "
    "mean over windows, p = normalised q ** (1 / temperature)"
)
CARD = (
    "study",
    "trial",
    "data",
    "data_fingerprint",
    "licence",
    "non_commercial",
    "shipped",
    "expected",
    "exam",
)

Run = Callable[[np.ndarray], np.ndarray]  # waves [B, T] -> probabilities [B, K]


@dataclass(frozen=True)
class Exported:
    """What was written, and how it was checked."""

    file: Path
    any_length: bool
    difference: float  # the largest of a probability, over all that was compared
    sounds: int  # compared, made ones included; one that is silent throughout is not
    size: int  # bytes
    sample_rate: int
    window: int  # samples
    classes: tuple[str, ...]


def export_onnx(model: "Model", file: Path, sounds: Sequence[Path] = ()) -> Exported:
    """Write a loaded model to an ONNX file, which is replaced if it is there.

    sounds: files to compare on, besides made sounds. Raises `Failure` where a package is missing, the net cannot be
    exported, or the graph differs from the model by more than `AGREEMENT`; `UsageError` for a path that cannot be
    written and for a sound that cannot be read. Nothing is written then.
    """
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise Failure(f"{missing[0]} is not installed, which an export needs: pip install 'escsearch[onnx]'")
    if file.is_dir() or not file.absolute().parent.is_dir():
        raise UsageError(f"{file} cannot be written: expected the name of a file in a folder that is there")
    classifier = _on_cpu(model.classifier._classifier)
    waves = [*_made(classifier.recipe.data), *(_read(model, sound) for sound in sounds)]
    with tempfile.TemporaryDirectory(dir=file.absolute().parent, prefix=".writing-") as scratch:
        draft = Path(scratch) / "model.onnx"
        for any_length in (True, False):  # a net with a fixed map behind its layers takes one length alone
            _write(classifier, draft, any_length, model)
            run = _session(draft)
            if not any_length or _takes_any_length(classifier, run):
                break
        differences = list(_differences(classifier, run, waves))
        difference = float(np.max(differences))  # unlike `max` it keeps a NaN
        if not difference <= AGREEMENT:
            raise Failure(
                f"the ONNX graph of {model.name} differs from the model by up to {difference:.2g} in a probability, "
                f"more than {AGREEMENT:g}, so {file} was not written; please report it with the model's config.json"
            )
        os.replace(draft, file)
    data = classifier.recipe.data
    return Exported(
        file,
        any_length,
        difference,
        len(differences),
        file.stat().st_size,
        data.sample_rate,
        data.crop_samples,
        tuple(classifier.classes),
    )


def _on_cpu(classifier: Any) -> Any:
    """ONNX is compared with the model on the CPU, wherever that was loaded."""
    for member in getattr(classifier, "members", (classifier,)):
        if hasattr(member, "ready"):
            member.ready("cpu")
        else:  # of format 2
            member.feature, member.net = member.feature.cpu(), member.net.cpu()
    return classifier


def _write(classifier: Any, file: Path, any_length: bool, model: "Model") -> None:
    import torch

    from .onnx_graph import Graph

    dynamic = {0: "batch", 1: "samples"} if any_length else {0: "batch"}
    wave_BT = torch.zeros(2, classifier.recipe.data.crop_samples)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch about itself
            program = torch.onnx.export(
                Graph(classifier).eval(),
                (wave_BT,),
                dynamo=True,
                opset_version=OPSET,
                input_names=["waves"],
                output_names=["probabilities"],
                dynamic_shapes={"waves": dynamic},
                verbose=False,
            )
    except (RuntimeError, torch.onnx.OnnxExporterError) as error:
        reason = " ".join(str(error.__cause__ or error).split())[:300]
        raise Failure(f"torch cannot export the net of {model.name} to ONNX: {reason}") from error
    assert program is not None
    for node in program.model.graph.all_nodes():
        node.metadata_props.clear()  # where in our source it comes from, with paths of this machine
    program.model.metadata_props.update(_metadata(classifier, any_length, model))
    program.model.doc_string = __doc__
    program.save(str(file))


def _metadata(classifier: Any, any_length: bool, model: "Model") -> dict[str, str]:
    data = classifier.recipe.data
    told = {
        "classes": json.dumps(list(classifier.classes)),
        "sample_rate": str(data.sample_rate),
        "window_samples": str(data.crop_samples),
        "hop_samples": str(max(1, data.crop_samples // 2)),
        "slack_samples": str(data.crop_samples // SLACK),
        "least_windows": str(data.views),
        "windows": WINDOWS,
        "pad": data.pad,
        "any_length": str(any_length).lower(),
        "temperature": repr(float(getattr(classifier, "temperature", 1.0))),
        "aggregation": AGGREGATION,
        "model": Path(model.name).name if Path(model.name).is_dir() else model.name,
        "card": json.dumps({key: model.card[key] for key in CARD if key in model.card}),
    }
    assert told.keys() == META.keys()
    return told


def _session(file: Path) -> Run:
    import onnxruntime  # type: ignore[import-untyped]

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what goes wrong is raised
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])

    def run(wave_BT: np.ndarray) -> np.ndarray:
        (prob_BK,) = session.run(["probabilities"], {"waves": wave_BT.astype(np.float32)})
        return np.asarray(prob_BK)

    return run


def _takes_any_length(classifier: Any, run: Run) -> bool:
    """Whether the graph takes longer waves than a window, and says of them what the model's nets say."""
    import torch

    from .onnx_graph import Graph

    window = classifier.recipe.data.crop_samples
    rng = np.random.default_rng(0)
    for length, count in ((window + window // 2 + 37, 1), (2 * window + 1, 3)):
        wave_BT = rng.normal(0, 0.1, (count, length)).astype(np.float32)
        try:
            told_BK = run(wave_BT)
        except (
            Exception
        ):  # whatever onnxruntime raises for a matrix that does not fit: there is no common class
            return False
        with torch.inference_mode():
            expected_BK = Graph(classifier, traced=False).eval()(torch.from_numpy(wave_BT)).numpy()
        if told_BK.shape != expected_BK.shape or not np.abs(told_BK - expected_BK).max() <= AGREEMENT:
            return False
    return True


def _differences(classifier: Any, run: Run, waves: Sequence[np.ndarray]) -> Iterator[float]:
    """Of each sound: how far the graph is from the model, over all of its windows that are not silent.

    What a model that normalises each clip says of silence is rounding blown up: it has no digits to compare.
    """
    data = classifier.recipe.data
    for wave_T in waves:
        start_W, _, expected_WK = classifier.windows(wave_T)
        begin_W = np.rint(np.asarray(start_W) * data.sample_rate).astype(int)
        place_WT = begin_W[:, None] + np.arange(data.crop_samples)
        window_WT = wave_T[place_WT % len(wave_T)]
        if data.pad == "zero":
            window_WT = np.where(place_WT < len(wave_T), window_WT, 0)
        heard_W = (np.abs(window_WT) >= SILENCE).any(axis=1)
        if heard_W.any():
            yield float(np.abs(run(window_WT[heard_W]) - expected_WK[heard_W]).max())


def _read(model: "Model", sound: Path) -> np.ndarray:
    audio = model.classifier._audio
    try:
        wave_T, rate = audio.decode(sound)
    except audio.AudioError as error:
        raise UsageError(str(error)) from error
    return audio.resample(wave_T, rate, model.classifier._classifier.recipe.data.sample_rate)


def _made(data: Any) -> list[np.ndarray]:
    """Noise loud, soft and almost silent, a chord, a click; one shorter than a window and one longer."""
    rng, window = np.random.default_rng(0), data.crop_samples
    time_T = np.arange(window) / data.sample_rate
    chord_T = sum(np.sin(2 * np.pi * share * data.sample_rate * time_T) for share in (0.01, 0.05, 0.2)) / 4
    click_T = np.zeros(window)
    click_T[window // 3] = 0.9
    made = [
        *(rng.normal(0, level, window) for level in (0.3, 0.01, 0.0005)),
        chord_T + rng.normal(0, 1e-4, window),  # a microphone's own noise: nothing that is recorded has none
        click_T,
        rng.normal(0, 0.1, max(1, window // 3)),
        rng.normal(0, 0.1, 2 * window + window // 3) * np.linspace(0, 1, 2 * window + window // 3),
    ]
    return [np.asarray(wave_T, dtype=np.float32) for wave_T in made]
