"""From a search on ESC-10 to strangers who use its model: `python benchmarks/handover.py`. Prints, and writes to
docs/models.md.

A study is run to its champion. Then 80 of its recordings are judged three times more, and compared with what the
process said that trained the model: by MLflow alone in a fresh environment with the model's own requirements
(some 5 GB), by `escsearch serve` asked with curl, and by the exported ONNX graph in onnxruntime.
"""

import base64
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import yaml
from common import MODELS, ROOT, about, data, duration, prose, table, write_section

from search import bundle, ship
from search.datasets.dataset import Dataset
from search.datasets.waves.audio import decode, resample
from search.predict import load_model
from search.settings import Settings, resolve
from search.spec import Spec

NAME, URI = "handover", "models:/handover@champion"
EACH = 8  # recordings of a class
BAR, GRAPH_BAR = 1e-5, 1e-4  # by which no probability may differ
TOGETHER = 20  # recordings in one request
SPACE: dict[str, Any] = {
    "about": "Small mel CNNs, minutes on two cores",
    "epochs": 10,
    "knobs": {
        "architecture": "mel_cnn",
        "data.sample_rate": 22050,
        "feature": "logmel",
        "feature.hop": 868,
        "model.width": {"type": "categorical", "choices": [16, 8]},
        "optim.batch": 16,
        "optim.lr": {"type": "float", "low": 1e-3, "high": 1e-2, "log": True},
        "augment.mixup": 0.2,
    },
}
Said = list[tuple[str, list[float]]]  # label and probabilities of each recording
PICKLES = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")  # how they begin
ARCHIVE = b"PK\x03\x04"  # what torch.save writes is one, with a pickle inside
STRANGER = """
import importlib.util, json, sys, time
found = [name for name in ("search", "escmodels", "spaces", "ray", "optuna") if importlib.util.find_spec(name)]
assert not found, f"not a fresh environment: {found}"
began = time.perf_counter()
import mlflow, pandas
imported = time.perf_counter()
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model(sys.argv[2])
loaded = time.perf_counter()
told = model.predict(pandas.DataFrame({"path": json.load(sys.stdin)}))
print(json.dumps({
    "import": imported - began, "load": loaded - imported, "predict": time.perf_counter() - loaded,
    "said": [[label, list(numbers)] for label, numbers in zip(told["label"], told["probabilities"])],
}))
"""


def main() -> None:
    """Run, hand over, compare, write the section."""
    with tempfile.TemporaryDirectory(prefix="escsearch-handover-") as scratch:
        folder = Path(scratch)
        dataset = data(folder)
        paths = chosen(dataset)
        words = [str(folder), str(dataset.root), *paths]
        trained = json.loads(spoken([sys.executable, __file__, "train", *words]).splitlines()[-1])
        settings = resolve({"home": str(folder / "runs")}, {})
        print(f"trained: {trained['exam']}", flush=True)
        strange = stranger(folder, settings, paths)
        found = {
            name: apart(said, trained["said"])
            for name, said in {
                "MLflow alone, in a fresh environment": strange["said"],
                "`escsearch serve`, asked with curl": served(folder, settings, paths),
                "the ONNX graph in onnxruntime": graph(folder, settings, paths),
            }.items()
        }
        lines = page(dataset, trained, strange, found, weighed(settings), opened(settings, paths[0]))
    print("\n".join(lines))
    write_section(MODELS, "handover", lines)
    if any(differs > bar for (differs, _), bar in zip(found.values(), (BAR, BAR, GRAPH_BAR), strict=True)):
        sys.exit("the bar is missed")


def chosen(dataset: Dataset) -> list[str]:
    """The first recordings of each class."""
    by_label: dict[str, list[str]] = {}
    for clip in dataset.clips:
        by_label.setdefault(clip.label, []).append(str(clip.path))
    return [path for label in sorted(by_label) for path in sorted(by_label[label])[:EACH]]


def spoken(words: Sequence[str], sent: str | None = None, **more: Any) -> str:
    """What a command prints on stdout. Ends the benchmark where the command fails."""
    done = subprocess.run(words, input=sent, capture_output=True, text=True, check=False, **more)
    if done.returncode:
        sys.exit(f"{' '.join(words[:4])} ended with {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout


# each way to the probabilities


def train(folder: Path, root: str, paths: Sequence[str]) -> None:
    """In a process of its own: the study, trained in this very process; what its model says, as JSON on stdout."""
    from search.run import run_study

    (folder / "space.yaml").write_text(yaml.safe_dump(SPACE))
    said: dict[str, Any] = {}
    write = bundle.write

    def listened(model: Any, target: Path, **more: Any) -> Path:
        rate = model.recipe.data.sample_rate
        judged = model.judge([resample(*decode(path), rate) for path in paths])
        said["said"] = [
            [model.classes[int(one.clip_K.argmax())], one.clip_K.astype(float).tolist()] for one in judged
        ]
        return write(model, target, **more)

    ship.bundle.write = listened
    spec = Spec(root, trials=3, finalists=1, sampler="random", model=NAME)
    outcome = run_study(
        spec,
        str(folder / "space.yaml"),
        resolve({"home": str(folder / "runs")}, {}),
        name=NAME,
        engine={"runner": "local", "cpus_per_trial": os.cpu_count()},
    )
    assert outcome.shipped is not None
    exam = outcome.exams[0][1]
    said["exam"] = f"{100 * exam.mean:.1f} % [{100 * exam.low:.1f}, {100 * exam.high:.1f}], {exam.protocol}"
    print(json.dumps(said))


def stranger(folder: Path, settings: Settings, paths: Sequence[str]) -> dict[str, Any]:
    """What a fresh environment says that has the model's requirements and nothing else."""
    import mlflow

    from search.registry import connected

    with connected(settings):
        requirements = mlflow.pyfunc.get_model_dependencies(URI)
    python = folder / "fresh" / "bin" / "python"
    spoken([sys.executable, "-m", "venv", str(folder / "fresh")])
    spoken([str(python), "-m", "pip", "install", "--quiet", "-r", requirements])
    clean = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("PYTHON", "MLFLOW", "ESC", "VIRTUAL"))
    }
    clean["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"
    words = [str(python), "-c", STRANGER, settings.tracking_uri, URI]
    told = spoken(words, json.dumps(list(paths)), cwd=folder, env=clean)
    found: dict[str, Any] = json.loads(told.splitlines()[-1])
    return found


def served(folder: Path, settings: Settings, paths: Sequence[str]) -> Said:
    """What the scoring server answers to curl."""
    words = [sys.executable, "-m", "search", "serve", URI, "--port", "0", "--json"]
    words += ["--home", str(settings.home)]
    with subprocess.Popen(
        words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        assert server.stdout is not None
        document = ""
        while line := server.stdout.readline():
            document += line
            if line == "}\n":
                break
        try:
            url = json.loads(document)["invocations"]
            said: Said = []
            for at in range(0, len(paths), TOGETHER):
                rows = [
                    {"audio": base64.b64encode(Path(path).read_bytes()).decode()}
                    for path in paths[at : at + TOGETHER]
                ]
                (folder / "body.json").write_text(json.dumps({"dataframe_records": rows}))
                words = ["curl", "-sS", "--fail-with-body", url, "-H", "Content-Type: application/json"]
                answer = json.loads(spoken([*words, "-d", f"@{folder / 'body.json'}"]))
                said += [(row["label"], row["probabilities"]) for row in answer["predictions"]]
        finally:
            server.terminate()
    return said


def graph(folder: Path, settings: Settings, paths: Sequence[str]) -> Said:
    """What the exported graph says in onnxruntime, by the rules in the file's metadata, written anew here."""
    file = folder / "model.onnx"
    words = [sys.executable, "-m", "search", "export", URI, "--onnx", str(file), "--check", paths[0]]
    spoken([*words, "--home", str(settings.home)], cwd=ROOT)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    meta: Mapping[str, str] = session.get_modelmeta().custom_metadata_map
    classes, temperature = json.loads(meta["classes"]), float(meta["temperature"])
    window, hop, slack = (int(meta[f"{name}_samples"]) for name in ("window", "hop", "slack"))
    assert meta["pad"] == "zero" and meta["least_windows"] == "1"
    said: Said = []
    for path in paths:
        wave_T = resample(*decode(path), int(meta["sample_rate"]))
        room = max(len(wave_T) - window, 0)
        more = -(-max(room - slack, 0) // hop)
        begins = [*(at * hop for at in range(more)), room] if more else [room // 2]
        wave_WT = np.stack([np.pad(cut, (0, window - len(cut))) for cut in cuts(wave_T, begins, window)])
        heard_W = (np.abs(wave_WT) >= 8 / 32768).any(axis=1)
        kept_WT = wave_WT[heard_W] if heard_W.any() else wave_WT
        (prob_WK,) = session.run(["probabilities"], {"waves": kept_WT.astype(np.float32)})
        plain_WK = scaled(np.asarray(prob_WK, dtype=np.float64), temperature)
        prob_K = scaled(plain_WK.mean(axis=0, keepdims=True), 1 / temperature)[0]
        said.append((classes[int(prob_K.argmax())], prob_K.tolist()))
    return said


def cuts(wave_T: np.ndarray, begins: Sequence[int], window: int) -> list[np.ndarray]:
    """Windows of a wave; the last one may be shorter."""
    return [wave_T[begin : begin + window] for begin in begins]


def scaled(prob_NK: np.ndarray, power: float) -> np.ndarray:
    """Probabilities to a power, which sum to one again."""
    raised_NK = prob_NK**power
    return raised_NK / raised_NK.sum(axis=1, keepdims=True)


def apart(said: Said, expected: Said) -> tuple[float, int]:
    """The largest difference of a probability, and how many labels are others."""
    assert len(said) == len(expected)
    furthest = max(
        float(np.abs(np.subtract(told, wanted)).max())
        for (_, told), (_, wanted) in zip(said, expected, strict=True)
    )
    return furthest, sum(told != wanted for (told, _), (wanted, _) in zip(said, expected, strict=True))


# what it weighs


def weighed(settings: Settings) -> tuple[int, int, list[str]]:
    """Bytes and number of the files of the registered model, and those that hold a pickle."""
    import mlflow

    from search.registry import connected

    with tempfile.TemporaryDirectory() as scratch:
        with connected(settings):
            place = Path(mlflow.artifacts.download_artifacts(artifact_uri=URI, dst_path=scratch))
        files = [path for path in place.rglob("*") if path.is_file()]
        pickled = [path.name for path in files if path.read_bytes()[:4].startswith((*PICKLES, ARCHIVE))]
        return sum(path.stat().st_size for path in files), len(files), pickled


def opened(settings: Settings, path: str) -> dict[str, float]:
    """Seconds to load by name in a process that has everything imported, and of the whole command for one file."""
    for _ in range(2):  # the first imports MLflow and torch
        began = time.perf_counter()
        load_model(URI, settings)
        seconds = time.perf_counter() - began
    began = time.perf_counter()
    spoken([sys.executable, "-m", "search", "predict", URI, path, "--home", str(settings.home)], cwd=ROOT)
    return {"load": seconds, "command": time.perf_counter() - began}


def page(
    dataset: Dataset,
    trained: Mapping[str, Any],
    strange: Mapping[str, Any],
    found: Mapping[str, tuple[float, int]],
    weight: tuple[int, int, list[str]],
    times: Mapping[str, float],
) -> list[str]:
    """The section."""
    size, files, pickled = weight
    count = len(trained["said"])
    holds = f"**{', '.join(pickled)} hold a pickle**" if pickled else "none of them a pickle or a zip archive"
    return [
        "## Handed over",
        "",
        *prose(
            f"""
            {about(dataset, "torch", "mlflow", "onnxruntime")} A study of three trials of small mel CNNs, examined
            ({trained["exam"]}), shipped and promoted. {count} recordings, {EACH} of a class, as the process judged them
            that trained the model, against three strangers. The fresh environment holds what the model's
            `requirements.txt` names and neither escsearch nor Ray nor Optuna. The bar is {BAR:g}, and {GRAPH_BAR:g} for
            ONNX.
            """
        ),
        *table(
            ("who judges them too", "largest difference of a probability", "other labels"),
            [(name, f"{differs:.1e}", labels) for name, (differs, labels) in found.items()],
        ),
        "",
        *prose(
            f"""
            The registered model has {files} files and {size / 1e6:.2f} MB, {holds}. Loaded by its alias:
            {duration(times["load"])} where everything is imported; {duration(strange["load"])} in the fresh
            environment, where torch is imported on the way, after {duration(strange["import"])} for MLflow. The whole
            command `escsearch predict` for one file: {duration(times["command"])}.
            """
        ),
    ]


if __name__ == "__main__":
    if sys.argv[1:2] == ["train"]:
        train(Path(sys.argv[2]), sys.argv[3], sys.argv[4:])
    else:
        main()
