"""Laws of the ONNX file: it says what the model says, of every family and feature, or it is not written."""

import argparse
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from tiny_model import CARD, CLASSES, RATE, bundled, sound, tones, trained

from escmodels.classifier import Classifier
from escmodels.ensemble import Ensemble
from escmodels.fit import fit
from escmodels.recipe import parse
from search import bundle, load_model
from search import export as exporting
from search.commands import export as command
from search.errors import Failure, UsageError
from search.export import META, export_onnx
from search.onnx_graph import Graph
from search.settings import resolve

ROOT = Path(__file__).resolve().parents[1]
SMALL = {"data.sample_rate": RATE, "data.crop": 0.8, "optim.batch": 8, "optim.lr": 0.01}
MEL = SMALL | {"feature.n_mels": 24, "feature.n_fft": 256, "feature.hop": 100, "model.width": 4}
BANDS = {key: value for key, value in MEL.items() if key != "feature.n_mels"}
CRNN = {k: v for k, v in MEL.items()} | {"architecture": "crnn"}
RAW = SMALL | {"architecture": "raw_cnn", "model.width": 0.125}
FEATURES = {
    "logmel": MEL,
    "logmel, resolutions": MEL | {"feature.stack": "resolutions", "feature.hop": 64},
    "logmel, pcen of many frames": MEL | {"feature.compression": "pcen", "feature.hop": 16},  # over BLOCK
    "logmel, window": MEL | {"feature.deltas": 1, "feature.window": 200},
    "gammatone, log, clip, bands": BANDS
    | {"feature": "gammatone", "feature.n_bands": 24, "feature.fmin": 100.0}
    | {"feature.compression": "log", "feature.normalise": "clip", "feature.stack": "bands"},
    "mfcc, deltas": MEL | {"feature": "mfcc", "feature.n_mfcc": 12, "feature.deltas": 2},
}
EXPORTED = (
    "logmel, resolutions",
    "logmel, pcen of many frames",
    "gammatone, log, clip, bands",
    "mfcc, deltas",
)
ANY_LENGTH = {
    "mel_cnn": MEL | {"model.pooling": "avg", "model.convs": 2, "model.kernel": 5, "model.norm_input": True},
    "crnn, lstm": CRNN | {"model.hidden": 8, "model.layers": 2},
    "crnn, gru": CRNN
    | {"model.hidden": 8, "model.cell": "gru", "model.pool": "attention", "model.bidirectional": False},
    "acrnn": CRNN | {"model.body": "acrnn", "model.cell": "gru", "model.pool": "last", "model.hidden": 8},
    "resnet": MEL | {"architecture": "resnet", "model.weights": "none", "model.width": 0.125},
    "acdnet": RAW,
    "m5": RAW | {"model.variant": "m5", "feature.normalise": "clip"},
}
ONE_LENGTH = {
    "mel_cnn, flatten": MEL | {"model.head": "flatten"},
    "piczak": {k: v for k, v in MEL.items() if k != "model.width"}
    | {"architecture": "piczak", "model.filters": 4, "model.hidden": 16, "feature.hop": 128},
    "envnet": RAW | {"model.variant": "envnet_v2"},
}


def learned(values: dict) -> Classifier:
    """One epoch on tones and noise."""
    return fit(parse(values), tones(1.6, 12), None, epochs=1, seed=0).classifier


def onnx_run(file: Path, wave_BT: np.ndarray) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return session.run(None, {"waves": wave_BT.astype(np.float32)})[0]


def meta(file: Path) -> dict[str, str]:
    import onnx

    return {entry.key: entry.value for entry in onnx.load(file).metadata_props}


def shipped(model: Classifier | Ensemble, folder: Path):
    return load_model(str(bundle.write(model, folder, card=CARD)))


@pytest.mark.parametrize("values", FEATURES.values(), ids=FEATURES)
def test_what_is_traced_computes_what_the_feature_computes(values):
    model = learned(values)
    wave_BT = torch.from_numpy(np.stack([sound(label, 1.6, RATE, 9) for label in CLASSES]))
    with torch.inference_mode():
        expected_BK = Graph(model, traced=False).eval()(wave_BT)
        torch.testing.assert_close(Graph(model).eval()(wave_BT), expected_BK, atol=1e-5, rtol=0)


@pytest.mark.parametrize("temperature", [1.0, 0.6, 2.5])
def test_the_graph_says_what_windows_say(temperature):
    model = Ensemble([trained(0), trained(1)], temperature)
    wave_T = sound("noise", 1.0, RATE, 5)
    with torch.inference_mode():
        prob_1K = Graph(model).eval()(torch.from_numpy(wave_T)[None]).numpy()
    np.testing.assert_allclose(prob_1K, model.windows(wave_T)[2], atol=1e-6)


@pytest.mark.parametrize("package", exporting.PACKAGES)
def test_a_missing_package_is_said_with_the_extra(package, monkeypatch, tmp_path):
    monkeypatch.setattr(exporting, "find_spec", lambda name: None if name == package else object())
    with pytest.raises(Failure, match=rf"^{package} is not installed.*pip install 'escsearch\[onnx\]'$"):
        export_onnx(load_model(str(bundled(tmp_path / "model"))), tmp_path / "m.onnx")


@pytest.mark.parametrize("place", ["nowhere/m.onnx", "."])
def test_a_place_that_cannot_be_written_is_said_before_the_work(place, tmp_path):
    with pytest.raises(UsageError, match="cannot be written"):
        export_onnx(load_model(str(bundled(tmp_path / "model"))), tmp_path / place)


def test_a_sound_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "bad.wav").write_text("no sound")
    with pytest.raises(UsageError, match="bad.wav"):
        export_onnx(load_model(str(bundled(tmp_path / "model"))), tmp_path / "m.onnx", [tmp_path / "bad.wav"])
    assert not (tmp_path / "m.onnx").exists()


def unwritten(monkeypatch, run) -> None:
    """An export that writes an empty file and, in the place of onnxruntime, asks `run(graph, wave_BT)`."""
    graphs = []

    def write(classifier, file, any_length, model):
        graphs[:] = [Graph(classifier, traced=False).eval()]
        file.touch()

    def session(file):
        return lambda wave_BT: run(graphs[0], torch.from_numpy(wave_BT.astype(np.float32)))

    monkeypatch.setattr(exporting, "_write", write)
    monkeypatch.setattr(exporting, "_session", session)


@torch.inference_mode()
def say_the_same(graph: Graph, wave_BT: torch.Tensor) -> np.ndarray:
    return graph(wave_BT).numpy()


def test_a_graph_that_says_nan_of_one_sound_is_not_written(monkeypatch, tmp_path):
    calls = []

    def nan_third(graph: Graph, wave_BT: torch.Tensor) -> np.ndarray:
        prob_BK = say_the_same(graph, wave_BT)
        calls.extend([1] if wave_BT.shape[1] == RATE else [])  # longer ones try whether it takes any length
        return np.full_like(prob_BK, np.nan) if len(calls) == 3 else prob_BK

    unwritten(monkeypatch, nan_third)
    with pytest.raises(Failure, match="differs from the model by up to nan"):
        export_onnx(load_model(str(bundled(tmp_path / "model"))), tmp_path / "m.onnx")
    assert len(calls) == 7 and not (tmp_path / "m.onnx").exists()


def test_a_silent_sound_does_not_count_as_compared(monkeypatch, tmp_path):
    for name, level in (("silent.wav", 0), ("loud.wav", 1)):
        soundfile.write(tmp_path / name, level * sound("tone", 1.0, RATE), RATE)
    unwritten(monkeypatch, say_the_same)
    model = load_model(str(bundled(tmp_path / "model")))
    made, silent, both = (
        export_onnx(model, tmp_path / "m.onnx", [tmp_path / name for name in names]).sounds
        for names in ([], ["silent.wav"], ["silent.wav", "loud.wav"])
    )
    assert (silent, both) == (made, made + 1)


def begins(told: dict[str, str], count: int) -> list[int]:
    """What `windows` says in the metadata, and no more."""
    window, hop, slack, least = (
        int(told[name]) for name in ("window_samples", "hop_samples", "slack_samples", "least_windows")
    )
    room = max(count - window, 0)
    more = -(-max(room - slack, 0) // hop)
    if more == 0:
        return [room // 2]
    if more < least - 1:
        more = min(least - 1, room)
        return [place * room // more for place in range(more + 1)]
    return [place * hop for place in range(more)] + [room]


@pytest.fixture(scope="module")
def knows() -> Classifier:
    return learned(MEL)


@pytest.mark.parametrize("views", [1, 5])
@pytest.mark.parametrize("windows", [0.4, 1.0, 1.01, 1.02, 1.03, 1.5, 1.51, 2.7])
def test_the_metadata_say_where_windows_begin(views, windows, knows):
    model = Classifier(parse(MEL | {"data.views": views}), CLASSES, knows.feature, knows.net)
    told = exporting._metadata(model, True, SimpleNamespace(name="m", card=CARD))
    assert told.keys() == META.keys()
    wave_T = sound("noise", windows * model.recipe.data.crop, RATE)
    expected_W = np.rint(model.windows(wave_T)[0] * RATE)
    np.testing.assert_array_equal(begins(told, len(wave_T)), expected_W)


@pytest.mark.slow
class TestFile:
    @pytest.mark.parametrize("name", [*ANY_LENGTH, *ONE_LENGTH])
    def test_every_family_is_exported(self, name, tmp_path):
        model = learned((ANY_LENGTH | ONE_LENGTH)[name])
        done = export_onnx(shipped(model, tmp_path / "model"), tmp_path / "m.onnx")
        assert done.difference <= 1e-5 and done.any_length == (name in ANY_LENGTH)
        content = done.file.read_bytes()
        assert not [place for place in (ROOT, Path.cwd(), tmp_path) if str(place).encode() in content]
        for batch in (1, 5):
            wave_BT = np.stack([sound("noise", 0.8, RATE, seed) for seed in range(batch)])
            expected_BK = np.concatenate([model.windows(wave_T)[2] for wave_T in wave_BT])
            np.testing.assert_allclose(onnx_run(done.file, wave_BT), expected_BK, atol=1e-5)

    @pytest.mark.parametrize("name", EXPORTED)
    def test_every_feature_is_exported(self, name, tmp_path):
        done = export_onnx(shipped(learned(FEATURES[name]), tmp_path / "model"), tmp_path / "m.onnx")
        assert done.difference <= 1e-4 and done.any_length

    def test_an_ensemble_with_a_temperature_is_one_file_that_explains_itself(self, tmp_path):
        model = Ensemble([trained(0), trained(1)], 1.8)
        done = export_onnx(shipped(model, tmp_path / "model"), tmp_path / "m.onnx")
        told = meta(done.file)
        assert told.keys() == META.keys()
        assert json.loads(told["classes"]) == list(CLASSES) and told["sample_rate"] == str(RATE)
        assert (told["window_samples"], told["hop_samples"]) == (str(RATE), str(RATE // 2))
        assert (float(told["temperature"]), told["any_length"]) == (1.8, "true")
        assert json.loads(told["card"])["licence"] == CARD["licence"]
        # a long sound by the rule in the metadata alone
        wave_T = sound("noise", 2.5, RATE, 3)
        window_WT = np.stack([wave_T[at : at + RATE] for at in begins(told, len(wave_T))])
        prob_WK = onnx_run(done.file, window_WT).astype(float)
        power_WK = prob_WK ** float(told["temperature"])
        mean_K = (power_WK / power_WK.sum(1, keepdims=True)).mean(0) ** (1 / float(told["temperature"]))
        np.testing.assert_allclose(mean_K / mean_K.sum(), model.judge([wave_T])[0].clip_K, atol=1e-5)

    def test_a_graph_that_differs_is_not_written(self, tmp_path, monkeypatch):
        (tmp_path / "m.onnx").write_text("what was there")
        monkeypatch.setattr(exporting, "AGREEMENT", -1.0)
        with pytest.raises(Failure, match="differs from the model by up to .*was not written"):
            export_onnx(load_model(str(bundled(tmp_path / "model"))), tmp_path / "m.onnx")
        assert (tmp_path / "m.onnx").read_text() == "what was there"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["m.onnx", "model"]

    @pytest.mark.parametrize("flags", [[], ["--json"]])
    def test_the_command_says_what_it_wrote(self, flags, tmp_path, capsys):
        common = argparse.ArgumentParser(add_help=False)
        common.add_argument("--json", action="store_true")
        parser = argparse.ArgumentParser()
        command.add(parser.add_subparsers(), common)
        soundfile.write(tmp_path / "a.wav", sound("tone", 2.0, 22050), 22050)
        words = ["export", str(bundled(tmp_path / "model")), "--onnx", str(tmp_path / "m.onnx"), *flags]
        args = parser.parse_args([*words, "--check", str(tmp_path / "a.wav")])
        settings = resolve({"home": str(tmp_path / "runs")}, environment={}, directory=tmp_path)
        assert args.act(args, settings) == 0
        told = capsys.readouterr().out
        if flags:
            assert json.loads(told)["sounds"] == 8 and json.loads(told)["any_length"] is True
        else:
            assert "8000 samples or more at 8000 Hz -> 2 classes" in told and "on 8 sounds" in told

    def test_it_agrees_on_real_clips(self, esc10_root, tmp_path):
        sounds = sorted(esc10_root.glob("*/*.ogg"))[::40]
        done = export_onnx(load_model(str(bundled(tmp_path / "model"))), tmp_path / "m.onnx", sounds)
        assert done.sounds == 7 + len(sounds) and done.difference <= 1e-4
