"""The registry on a real SQLite store: log, register, promote, load by name, all without pickle."""

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from test_promote import EXAM
from tiny_model import CARD, CLASSES, RATE, bundled, sound

from search import load_model, model_log, registry, reigns
from search.errors import Failure, UsageError
from search.mlflow_file import make_stores
from search.settings import Settings, resolve

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Store:
    settings: Settings
    bundle: Path
    run_id: str
    model_uri: str


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Two versions of `tiny`, of which the second is champion, and a name without a champion."""
    home = tmp_path_factory.mktemp("home")
    settings = resolve({"home": str(home)}, environment={}, directory=home)
    bundle = bundled(home / "bundle")
    make_stores(settings)
    with registry.connected(settings) as client:
        experiment = client.create_experiment("esc", artifact_location=settings.artifacts.as_uri())
        run_id = client.create_run(experiment).info.run_id
    uri = model_log.log_model(settings, run_id, bundle)
    for number, mean in ((1, 0.81), (2, 0.82)):
        exam = replace(EXAM, mean=mean)
        tags = {registry.EXAM_TAG: exam.to_json(), registry.REASON_TAG: f"reason {number}"}
        version = registry.register(settings, uri, "tiny", tags)
        reigns.promote(settings, "tiny", version, f"reason {number}")
    registry.register(settings, run_id, "nobody", {})
    yield Store(settings, bundle, run_id, uri)


@pytest.fixture
def hum(tmp_path: Path) -> Path:
    path = tmp_path / "hum.flac"
    soundfile.write(path, sound("tone", 2.5, RATE), RATE)
    return path


def test_the_champion_moves_and_the_old_one_is_kept(store: Store) -> None:
    newest, oldest = registry.history(store.settings, "tiny")
    assert (newest.version, newest.aliases) == (2, ("champion",))
    assert (oldest.version, oldest.aliases) == (1, ("previous",))
    reigns.promote(store.settings, "tiny", 2, "again")  # nothing moves
    assert registry.find(store.settings, "tiny", "previous").version == 1


def test_a_card_tells_exam_reason_and_when(store: Store) -> None:
    card = registry.champion(store.settings, "tiny")
    assert card is not None and card.exam == replace(EXAM, mean=0.82)
    assert card.tags[registry.REASON_TAG] == "reason 2" and registry.SINCE_TAG in card.tags
    assert registry.names(store.settings) == ["nobody", "tiny"]


def test_nobody_is_champion_of_a_name_that_has_none(store: Store, tmp_path: Path) -> None:
    assert registry.champion(store.settings, "nobody") is None
    assert registry.champion(store.settings, "unknown") is None
    empty = resolve({"home": str(tmp_path / "none")}, environment={}, directory=tmp_path)
    assert registry.champion(empty, "tiny") is None
    assert not empty.home.exists()


def test_logging_leaves_run_and_environment_alone(store: Store) -> None:
    with registry.connected(store.settings) as client:
        assert client.get_run(store.run_id).info.status == "RUNNING"
    import mlflow

    assert "MLFLOW_TRACKING_URI" not in os.environ or mlflow.get_tracking_uri() != store.settings.tracking_uri


def test_every_name_of_the_model_loads_it(store: Store, hum: Path) -> None:
    expected = load_model(str(store.bundle)).predict(hum).probabilities[0]
    names = ("tiny", "tiny@previous", "models:/tiny@champion", "models:/tiny/1", store.model_uri)
    for name in (*names, f"runs:/{store.run_id}/model"):
        model = load_model(name, store.settings)
        assert (model.classes, model.card) == (CLASSES, CARD)
        assert np.abs(np.subtract(model.predict(hum).probabilities[0], expected)).max() <= 1e-6
    assert load_model("tiny", store.settings).name == "tiny version 2"


def test_the_registered_files_hold_no_pickle_and_no_trace_of_loading(store: Store) -> None:
    load_model("tiny", store.settings)
    files = [path for path in store.settings.artifacts.rglob("*") if path.is_file()]
    assert {"MLmodel", "pyfunc_model.py", "weights.safetensors", "requirements.txt"} <= {
        f.name for f in files
    }
    assert not [f for f in files if f.suffix in (".pkl", ".pth", ".pt", ".pyc", ".bin")]
    requirements = next(f for f in files if f.name == "requirements.txt").read_text()
    assert "torch==" in requirements and "escsearch" not in requirements and "+" not in requirements


def test_mlflow_alone_predicts_bytes(store: Store, hum: Path) -> None:
    from mlflow import pyfunc
    from mlflow.exceptions import MlflowException

    with registry.connected(store.settings), registry.pickle_forbidden():
        loaded = pyfunc.load_model("models:/tiny@champion")
    table = loaded.predict(pd.DataFrame({"audio": [hum.read_bytes()]}), params={"top_k": 2, "windows": True})
    assert list(table.columns) == ["file", "start", "end", "label", "probability", "probabilities"]
    assert len(table) == 2 * len(load_model(str(store.bundle)).predict(hum, windows=True))
    with pytest.raises(MlflowException, match="needs a column"):
        loaded.predict(pd.DataFrame({"sound": ["x"]}))


ALONE = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("search", "spaces", "escmodels"):
            raise ImportError(f"{name} is not installed here")
sys.meta_path.insert(0, Refuse())
import mlflow
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model("models:/tiny@champion")
import pandas as pd
print(model.predict(pd.DataFrame({"path": [sys.argv[2]]})).to_json(orient="records"))
"""


def test_it_loads_where_escsearch_is_not_installed(store: Store, hum: Path, tmp_path: Path) -> None:
    environment = os.environ | {
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-I", "-c", ALONE, store.settings.tracking_uri, str(hum)],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout)[0]
    expected = load_model(str(store.bundle)).predict(hum)
    assert row["label"] == expected.label[0] == "tone"
    assert row["probability"] == pytest.approx(expected.probability[0], abs=1e-6)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("tyni", "no model is named 'tyni'.*known there: nobody, tiny"),
        ("tiny@best", "no version @best; it has @champion, @previous, /2, /1"),
        ("models:/tiny/7", "no version 7"),
        ("nobody", "no version @champion; it has /1"),
        ("models:/m-" + 32 * "0", "cannot be loaded"),
        ("runs:/" + 32 * "0" + "/model", "cannot be loaded"),
    ],
)
def test_what_does_not_exist_is_said_with_what_does(store: Store, name: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        load_model(name, store.settings)


def test_a_pickled_model_is_refused(store: Store, tmp_path: Path) -> None:
    import mlflow

    def double(model_input: list[str]) -> list[str]:
        return model_input * 2

    registry.quiet_mlflow()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says itself that pickle is not safe
        mlflow.pyfunc.save_model(tmp_path / "pickled", python_model=double, pip_requirements=[])
    with pytest.raises(UsageError, match="cannot be loaded.*(?i:pickle)"):
        load_model(str(tmp_path / "pickled"), store.settings)


def test_a_server_that_is_away_is_a_failure_at_once(tmp_path: Path) -> None:
    away = resolve({"tracking_uri": "http://127.0.0.1:9"}, environment={}, directory=tmp_path)
    with pytest.raises(Failure, match="127.0.0.1:9"):
        load_model("tiny", away)


def test_the_history_is_told_by_the_store(store: Store) -> None:
    first, second = reigns.log(store.settings, "tiny")
    assert (first.version, first.reason, second.version, second.reason) == (1, "reason 1", 2, "reason 2")
    with pytest.raises(UsageError, match="no model is named 'tyni'"):
        reigns.log(store.settings, "tyni")
    with pytest.raises(UsageError, match="had no champion yet"):
        reigns.rollback(store.settings, "nobody")


def test_a_model_that_the_run_has_already_is_not_logged_twice(store: Store) -> None:
    assert model_log.log_model(store.settings, store.run_id, store.bundle) == store.model_uri


def test_what_a_killed_process_left_of_a_model_is_cleared(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    with registry.connected(store.settings) as client:
        experiment = client.get_run(store.run_id).info.experiment_id
        run_id = client.create_run(experiment).info.run_id

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_model_artifacts", die)
        with pytest.raises(KeyboardInterrupt):
            model_log.log_model(store.settings, run_id, store.bundle)
    uri = model_log.log_model(store.settings, run_id, store.bundle)
    with registry.connected(store.settings) as client:
        left = client.search_logged_models([experiment], f"source_run_id = '{run_id}'")
        assert [f"models:/{logged.model_id}" for logged in left] == [uri]
    assert load_model(uri, store.settings).classes == CLASSES
