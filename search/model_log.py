"""A bundle as a model of MLflow, and the files of one that is registered."""

import hashlib
import io
import json
import tempfile
from collections.abc import Iterator
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

import numpy as np

from .bundle import CARD, CONFIG, PREDICTIONS, WEIGHTS
from .pages import EXPERIMENT
from .registry import Card, connected, pickle_forbidden
from .settings import Settings

MODEL_FILE = Path(__file__).with_name("pyfunc_model.py")
# What the shipped code imports. `timm` only where the bundle's recipe is a resnet.
REQUIREMENTS = ("mlflow", "torch", "torchaudio", "numpy", "pandas", "safetensors", "soundfile", "soxr")
WEIGHTS_TAG = "weights"  # `weights` of its bundle: the same files
IDENTITY_TAG = (
    "identity"  # `identity` of its bundle: the same model, whatever its temperature; older versions lack it
)
NEUTRAL = ("temperature", "format")  # of a configuration: what does not make it another model


def log_model(settings: Settings, run_id: str, bundle: Path) -> str:
    """Log a bundle as an MLflow model of a run, whose status is left as it is; return `models:/m-...`.

    A bundle with the same weights that this run has already is taken as it is; what a process left that was killed
    meanwhile is deleted.
    """
    with connected(settings) as client:
        from mlflow import pyfunc
        from mlflow.models import Model

        experiment, digest = client.get_run(run_id).info.experiment_id, weights(bundle)
        for logged in client.search_logged_models([experiment], f"source_run_id = '{run_id}'"):
            if logged.tags.get(WEIGHTS_TAG) == digest:
                if str(logged.status) == "READY":
                    return f"models:/{logged.model_id}"
                client.delete_logged_model(logged.model_id)
        made = client.create_logged_model(
            experiment, name="model", source_run_id=run_id, tags={WEIGHTS_TAG: digest}
        )
        # not pyfunc.log_model: it needs an active run, and ending that would change the run's status
        with pickle_forbidden():  # MLflow runs the code of a model to log it
            Model.log(
                artifact_path=None,
                name="model",
                flavor=pyfunc,
                model_id=made.model_id,
                run_id=run_id,
                **_content(bundle),
            )
        return f"models:/{made.model_id}"


def save(bundle: Path, folder: Path) -> Path:
    """Write a bundle as a model folder of MLflow, without a store; `folder` must not be there. Returns it."""
    from mlflow import pyfunc

    with pickle_forbidden():
        pyfunc.save_model(path=str(folder), **_content(bundle))
    return folder


def _content(bundle: Path) -> dict[str, Any]:
    card, classes = _read(bundle / CARD), _read(bundle / CONFIG)["classes"]
    return {
        "python_model": str(MODEL_FILE),
        "artifacts": {"bundle": str(bundle)},
        "signature": _signature(),
        "input_example": _example(),
        "pip_requirements": requirements(bundle),
        "metadata": {"classes": classes, "card": card},
    }


def weights(bundle: Path) -> str:
    """Fingerprint of the weights of a bundle and of its temperature: 16 hexadecimal digits."""
    digest = hashlib.sha256((bundle / CONFIG).read_bytes())
    digest.update((bundle / WEIGHTS).read_bytes())
    return digest.hexdigest()[:16]


def identity(bundle: Path) -> str:
    """Fingerprint of a model, which a repeated exam leaves as it is though the temperature changes: 16 digits."""
    config = {"members": 1, **_read(bundle / CONFIG)}  # older ones do not say that they are one classifier
    told = {key: value for key, value in config.items() if key not in NEUTRAL}
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    digest.update((bundle / WEIGHTS).read_bytes())
    return digest.hexdigest()[:16]


def identity_of(settings: Settings, card: Card) -> str | None:
    """`identity` of a registered version; None where it has no tag of it and MLflow does not have its files."""
    if IDENTITY_TAG in card.tags:
        return card.tags[IDENTITY_TAG]
    with connected(settings), tempfile.TemporaryDirectory() as scratch:
        import mlflow
        from mlflow.exceptions import MlflowException

        try:
            for uri in (uri for name in (CONFIG, WEIGHTS) for uri in _inside(card, name)[:1]):
                path = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=scratch))
                path.replace(Path(scratch) / path.name)
            return identity(Path(scratch))
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
        except (OSError, ValueError, TypeError):  # not there, or not what we would have written
            return None


def requirements(bundle: Path) -> list[str]:
    """The exact versions of what the bundle's code imports, without a local build's suffix (`+cpu`)."""
    values = _read(bundle / CONFIG).get("values", {})
    packages = REQUIREMENTS + (("timm", "torchvision") if values.get("architecture") == "resnet" else ())
    return [f"{package}=={installed(package).split('+')[0]}" for package in packages]


def tables(settings: Settings, card: Card, exam_key: str, scratch: Path) -> Iterator[Path]:
    """Copies of the tables of predictions that MLflow has of a version: its own, then that of its exam's run.

    exam_key: our key of that run, whose table is newer where the exam was repeated. scratch: a folder for them.
    """
    with connected(settings) as client:
        import mlflow

        own = _inside(card, PREDICTIONS)
        experiment = client.get_experiment_by_name(EXPERIMENT)
        query = f"tags.`esc.key` = '{exam_key}'"
        runs = client.search_runs([experiment.experiment_id], query, max_results=1) if experiment else []
        own += [
            f"runs:/{run.info.run_id}/{PREDICTIONS}"
            for run in runs
            if any(file.path == PREDICTIONS for file in client.list_artifacts(run.info.run_id))
        ]
        for number, uri in enumerate(own):
            yield Path(
                mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(scratch / str(number)))
            )


def _inside(card: Card, name: str) -> list[str]:
    """Where MLflow has the file of this name of a version's bundle; for use while connected."""
    import mlflow

    return [
        f"{card.uri}/{inner.path}"
        for folder in mlflow.artifacts.list_artifacts(artifact_uri=f"{card.uri}/artifacts")
        for inner in mlflow.artifacts.list_artifacts(artifact_uri=f"{card.uri}/{folder.path}")
        if inner.path.endswith(f"/{name}")
    ]


def _signature() -> Any:
    """Columns of the table that goes in (`audio`, or `samples` with `rate`, or `path`) and of the one that comes."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import AnyType, Array

    numbers = Array(DataType.double)
    return ModelSignature(
        Schema(
            [
                ColSpec("binary", "audio", required=False),
                ColSpec(numbers, "samples", required=False),
                # a whole number or a float; none in a row of `audio`
                ColSpec(AnyType(), "rate", required=False),  # type: ignore[no-untyped-call]
                ColSpec("string", "path", required=False),
            ]
        ),
        Schema(
            [
                ColSpec("string", "file"),
                ColSpec("double", "start"),
                ColSpec("double", "end"),
                ColSpec("string", "label"),
                ColSpec("double", "probability"),
                ColSpec(numbers, "probabilities"),
            ]
        ),
        ParamSchema([ParamSpec("windows", "boolean", False), ParamSpec("top_k", "long", 1)]),
    )


def _example() -> Any:
    """A tenth of a second of a tone, as the bytes of a WAV file: what a request to the scoring server looks like."""
    import pandas as pd
    import soundfile

    file = io.BytesIO()
    time_T = np.arange(800) / 8000
    soundfile.write(file, 0.5 * np.sin(2 * np.pi * 440 * time_T), 8000, format="WAV", subtype="PCM_16")
    return pd.DataFrame({"audio": [file.getvalue()]})


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
