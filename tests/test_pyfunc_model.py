"""The shipped model as MLflow runs it: every kind of input and bundle, and what it refuses."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
import soundfile
from tiny_model import CARD, RATE, sound, tones, trained

from escmodels.classifier import Classifier
from escmodels.ensemble import Ensemble
from search import bundle, load_model
from search.datasets.waves import audio

if TYPE_CHECKING:
    from search.pyfunc_model import SoundClassifier

COLUMNS = ["file", "start", "end", "label", "probability", "probabilities"]


def shipped(model: Classifier | Ensemble, folder: Path) -> SoundClassifier:
    return load_model(str(bundle.write(model, folder, card=CARD))).classifier


@pytest.fixture(scope="module")
def two() -> list[Classifier]:
    return [trained(0), trained(1)]


@pytest.fixture(scope="module")
def model(two: list[Classifier], tmp_path_factory: pytest.TempPathFactory) -> SoundClassifier:
    return shipped(two[0], tmp_path_factory.mktemp("shipped") / "model")


def given(*waves: np.ndarray, rate: float = RATE) -> pd.DataFrame:
    return pd.DataFrame({"samples": list(waves), "rate": [rate] * len(waves)})


def test_samples_are_the_same_sound_as_their_file(model: SoundClassifier, tmp_path: Path) -> None:
    wave_T = sound("tone", 2.3, 22050)
    soundfile.write(tmp_path / "a.wav", wave_T, 22050, subtype="FLOAT")
    by_file = model.predict(None, [tmp_path / "a.wav"])
    by_samples = model.predict(None, given(wave_T, rate=22050))
    assert by_samples.probabilities[0] == by_file.probabilities[0]
    assert by_samples.file[0] == "samples[0]" and by_samples.end[0] == pytest.approx(2.3)
    listed = model.predict(None, given(wave_T.tolist(), rate=22050))  # as JSON has it
    assert listed.probabilities[0] == by_file.probabilities[0]


def test_channels_are_averaged(model: SoundClassifier) -> None:
    wave_T = sound("noise", 1.0, RATE)
    stereo_TC = np.stack((2 * wave_T, np.zeros_like(wave_T)), axis=1)
    one, two = model.predict(None, given(wave_T, stereo_TC)).probabilities
    assert one == two


def test_a_table_may_hold_every_kind_and_names(model: SoundClassifier, tmp_path: Path) -> None:
    wave_T = sound("tone", 1.0, RATE)
    soundfile.write(tmp_path / "a.flac", wave_T, RATE)
    content = (tmp_path / "a.flac").read_bytes()
    table = pd.DataFrame(
        {
            "audio": [content, None, None],
            "samples": [None, wave_T, None],
            "rate": [None, RATE, None],
            "path": ["named", "also", str(tmp_path / "a.flac")],
        }
    )
    found = model.predict(None, table)
    assert list(found.columns) == COLUMNS
    assert list(found.file) == ["named", "also", str(tmp_path / "a.flac")]
    assert set(found.label) == {"tone"}


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (pd.DataFrame({"samples": [[0.1]]}), "needs a column `rate`"),
        (pd.DataFrame({"rate": [8000]}), "the input needs a column"),
        (given(np.zeros(0)), r"samples\[0\].*shape \[0\]"),
        (given(np.zeros((2, 2, 2))), r"shape \[2, 2, 2\]"),
        (given(np.zeros((2, 8000))), r"shape \[2, 8000\], expected \[samples, channels\]: transpose them"),
        (given(np.array([0.0, np.nan])), "NaN or infinite"),
        (given(np.array([0, 12000])), "reach 12000, expected -1 to 1: divide 16-bit integers by 32768"),
        (given(np.zeros(9), rate=0), "`rate` is 0, expected 1000 to 10000000 Hz"),
        (given(np.zeros(9), rate=float("nan")), "`rate` is nan"),
        (pd.DataFrame({"samples": [["a"]], "rate": [8000]}), "no list of numbers"),
        (pd.DataFrame({"samples": ["text"], "rate": [8000]}), "row 0 of the input.*got str"),
    ],
)
def test_samples_that_cannot_be_used_are_a_bad_request(
    model: SoundClassifier, table: pd.DataFrame, said: str
) -> None:
    from mlflow.exceptions import MlflowException

    with pytest.raises(MlflowException, match=said) as caught:
        model.predict(None, table)
    assert caught.value.get_http_status_code() == 400


def test_each_goes_on_after_a_bad_sound(model: SoundClassifier) -> None:
    wave_T = sound("tone", 1.0, RATE)
    named = [("a", (wave_T, RATE)), ("b", b"no sound"), ("c", (wave_T, RATE))]
    found = {name: rows for name, rows, _ in model.each(named)}
    assert list(found) == ["a", "b", "c"]
    assert isinstance(found["b"], str) and found["b"].startswith("b: ")
    assert found["a"][0][1:] == found["c"][0][1:]


@pytest.mark.parametrize("members", [1, 2])
def test_it_says_what_the_packed_model_says(two: list[Classifier], members: int, tmp_path: Path) -> None:
    packed = Ensemble(two, 1.6) if members == 2 else two[0]
    clips = tones(2.6)
    loaded = shipped(packed, tmp_path / "model")
    wave_NT = clips.samples.reshape(len(clips), -1).astype(np.float32) / 32768
    found = loaded.predict(None, given(*wave_NT))
    expected_NK = packed.probabilities(clips)
    assert np.abs(np.stack(found.probabilities) - expected_NK).max() <= 1e-6
    windows = loaded.predict(None, given(wave_NT[0]), {"windows": True})
    assert np.abs(np.stack(windows.probabilities) - packed.windows(wave_NT[0])[2]).max() <= 1e-6


def test_a_bundle_of_format_2_is_loaded(two: list[Classifier], tmp_path: Path) -> None:
    folder = bundle.write(two[0], tmp_path / "model", card=CARD)
    config = json.loads((folder / "config.json").read_text())
    del config["temperature"], config["members"]
    (folder / "config.json").write_text(json.dumps(config | {"format": 2}))
    (folder / "code" / "escmodels" / "ensemble.py").unlink()
    loaded = load_model(str(folder)).classifier
    wave_T = sound("noise", 2.6, RATE)
    expected = loaded.predict(None, given(wave_T)).probabilities[0]
    # its code judged one sound at a time
    loaded._classifier = SimpleNamespace(windows=two[0].windows)
    assert np.abs(np.subtract(loaded.predict(None, given(wave_T)).probabilities[0], expected)).max() <= 1e-6


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Operation with range")  # MLflow 3.17 on pandas 3
def test_mlflow_lets_every_kind_of_input_through_its_signature(two: list[Classifier], tmp_path: Path) -> None:
    from search.model_log import save

    folder = save(bundle.write(Ensemble(two, 1.4), tmp_path / "bundle", card=CARD), tmp_path / "model")
    assert (folder / "input_example.json").is_file() and (folder / "serving_input_example.json").is_file()
    names = [path.name for path in folder.rglob("*") if path.is_file()]
    assert not [name for name in names if name.endswith((".pkl", ".pth", ".pt", ".pyc", ".bin"))]
    from mlflow import pyfunc
    from mlflow.pyfunc.scoring_server import infer_and_parse_data

    loaded, wave_T = pyfunc.load_model(str(folder)), sound("tone", 2.6, 22050)
    expected_K = Ensemble(two, 1.4).judge([resampled(wave_T, 22050)])[0].clip_K
    request = {"dataframe_records": [{"samples": wave_T.tolist(), "rate": 22050}]}
    mixed = pd.DataFrame(
        {"samples": [wave_T, None], "rate": [22050, None], "audio": [None, encoded(wave_T, 22050)]}
    )
    for table in (
        given(wave_T, rate=22050),
        given(wave_T.astype(float), rate=22050.0),
        mixed,
        infer_and_parse_data(request, loaded.metadata.get_input_schema()),
    ):
        prob_NK = np.stack(loaded.predict(table).probabilities)
        assert np.abs(prob_NK - expected_K).max() <= 1e-6


def resampled(wave_T: np.ndarray, rate: int) -> np.ndarray:
    return audio.resample(wave_T, rate, RATE)


def encoded(wave_T: np.ndarray, rate: int) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, wave_T, rate, format="WAV", subtype="FLOAT")
    return buffer.getvalue()
