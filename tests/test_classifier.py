"""Laws of the classifier: clips and long audio are judged alike, and what is packed comes back bit for bit."""

import importlib
import json
import pickle
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from toys import CRNN, MEL, RATE, RAW, noises, recipe

import escmodels
from escmodels.classifier import Classifier, Views, predict
from escmodels.clips import ClipSet
from escmodels.fit import fit

CLIPS = noises(10, seconds=1.7, seed=5, tail=0.4)
BASES = [MEL, RAW, CRNN]
NAMES = ["mel", "raw", "crnn"]


def trained(base=MEL, **knobs) -> Classifier:
    return fit(recipe(base, **knobs), noises(16, seed=1), None, epochs=2, seed=0).classifier


def float_wave(clips: ClipSet, row: int) -> np.ndarray:
    return clips.take([row], 0, int(clips.lengths[row]))[0].numpy().astype(np.float32) / 32768


@pytest.mark.parametrize("base", BASES, ids=NAMES)
def test_a_clip_is_judged_by_the_mean_over_the_windows_of_its_audio(base):
    model = trained(base)
    probabilities = model.probabilities(CLIPS)
    assert probabilities.dtype == np.float32 and probabilities.shape == (10, 2)
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)
    for row in (0, 7):
        starts, ends, prob_WK = model.windows(float_wave(CLIPS, row))
        np.testing.assert_allclose(prob_WK.mean(0), probabilities[row], rtol=1e-4)
        assert starts.tolist() == [
            0.0,
            0.25,
            0.5,
            0.75,
            1.0,
            1.2,
        ]  # 1.2-1.7 reaches into the sound, 1.3 s long
        np.testing.assert_allclose(ends - starts, 0.5)


def test_a_window_is_judged_like_the_same_sound_alone():
    model = trained()
    starts, ends, prob_WK = model.windows(float_wave(CLIPS, 3))
    for start, end, prob_K in zip(starts, ends, prob_WK, strict=True):
        part = float_wave(CLIPS, 3)[round(start * RATE) : round(end * RATE)]
        np.testing.assert_allclose(model.windows(part)[2][0], prob_K, rtol=1e-4)


def test_silent_windows_have_no_voice():
    model = trained()
    loud = float_wave(CLIPS, 2)[:4000]
    quiet = np.zeros(6 * 4000, dtype=np.float32)
    starts, _, prob_WK = model.windows(np.concatenate((quiet, loud)))
    assert starts.tolist() == [2.75, 3.0]
    assert len(model.windows(quiet)[0]) == 11  # nothing but silence: every window is given


def test_short_audio_is_one_window_that_ends_with_it():
    starts, ends, prob_WK = trained().windows(np.full(800, 0.1))
    assert starts.tolist() == [0.0] and ends.tolist() == [0.1] and prob_WK.shape == (1, 2)


def test_clips_of_a_batch_do_not_see_each_other():
    model = trained()
    together = model.probabilities(CLIPS)
    for batch in (1, 7):
        np.testing.assert_allclose(model.probabilities(CLIPS, batch), together, rtol=1e-4)
    np.testing.assert_allclose(model.probabilities(CLIPS.subset([4, 1])), together[[4, 1]], rtol=1e-4)
    assert model.probabilities(CLIPS.subset([])).shape == (0, 2)


def test_judging_works_in_evaluation_mode_and_gives_the_mode_back():
    model = trained(model__dropout=0.5)
    before = model.probabilities(CLIPS)
    model.net.train()
    np.testing.assert_array_equal(model.probabilities(CLIPS), before)
    assert model.net.training


def test_many_sounds_are_judged_as_each_alone():
    model = trained()
    waves = [float_wave(CLIPS, 0), float_wave(CLIPS, 7)[:900], float_wave(CLIPS, 3)[:9000]]
    together = model.judge(waves)
    assert len(together) == 3 and model.judge([]) == []
    for wave, judged in zip(waves, together, strict=True):
        (alone,) = model.judge([wave])
        np.testing.assert_array_equal(judged.start_W, alone.start_W)
        np.testing.assert_array_equal(judged.end_W, alone.end_W)
        np.testing.assert_allclose(judged.prob_WK, alone.prob_WK, rtol=1e-4)
        np.testing.assert_allclose(judged.clip_K, judged.prob_WK.mean(0), rtol=1e-5)
        assert judged.clip_K.dtype == judged.prob_WK.dtype == np.float32


class TestTemperature:
    def test_one_changes_no_bit(self):
        model = trained()
        before, judged = model.probabilities(CLIPS), model.judge([float_wave(CLIPS, 0)])[0]
        views, prob_WK = model.softmax(CLIPS)
        np.testing.assert_array_equal(before, views.by_clip(prob_WK))
        np.testing.assert_array_equal(judged.prob_WK, prob_WK[views.rows == 0])
        np.testing.assert_array_equal(judged.clip_K, before[0])

    @pytest.mark.parametrize("temperature", [0.5, 2.5])
    def test_it_comes_last_for_windows_and_for_sounds(self, temperature):
        model = trained()
        plain = model.judge([float_wave(CLIPS, 7)])[0]
        before = model.probabilities(CLIPS)
        model.temperature = temperature
        warm = model.judge([float_wave(CLIPS, 7)])[0]
        for cold, warmed in ((plain.prob_WK, warm.prob_WK), (plain.clip_K[None], warm.clip_K[None])):
            power = cold.astype(np.float64) ** (1 / temperature)
            np.testing.assert_allclose(warmed, power / power.sum(1, keepdims=True), rtol=1e-5)
        after = model.probabilities(CLIPS)
        np.testing.assert_allclose(warm.clip_K, after[7], rtol=1e-5)
        np.testing.assert_array_equal(after.argmax(1), before.argmax(1))
        assert (after.max(1) > before.max(1)).all() == (temperature < 1)

    def test_it_is_packed(self, tmp_path):
        model = trained()
        model.temperature = 1.7
        model.pack(tmp_path)
        other = Classifier.unpack(tmp_path)
        assert other.temperature == 1.7
        np.testing.assert_array_equal(other.probabilities(CLIPS), model.probabilities(CLIPS))

    def test_a_pack_of_the_format_before_it_has_none(self, tmp_path):
        model = trained()
        model.pack(tmp_path)
        config = json.loads((tmp_path / "config.json").read_text())
        del config["temperature"], config["members"]
        (tmp_path / "config.json").write_text(json.dumps(config | {"format": 2}))
        other = Classifier.unpack(tmp_path)
        assert other.temperature == 1
        np.testing.assert_array_equal(other.probabilities(CLIPS), model.probabilities(CLIPS))


def test_logits_are_those_behind_the_probabilities():
    model = trained()
    clips = noises(6, seed=9)
    wave = clips.take(np.arange(6), 0, 4000).float() / 32768
    np.testing.assert_allclose(model.logits(wave).softmax(1).numpy(), model.probabilities(clips), rtol=1e-5)


def test_views_kept_are_views_made_anew():
    model = trained()
    views = Views(CLIPS, model.recipe, model.feature, model.device, 4)
    kept = list(views)
    np.testing.assert_array_equal(predict(model.net, kept), predict(model.net, views))
    assert sum(len(x) for x in kept) == len(views.rows)


@pytest.mark.parametrize("base", BASES, ids=NAMES)
def test_what_is_packed_comes_back_bit_for_bit(base, tmp_path):
    model = trained(base, optim__ema=0.9)
    model.pack(tmp_path / "deep" / "model")
    before = torch.get_rng_state()
    other = Classifier.unpack(tmp_path / "deep" / "model")
    assert torch.equal(torch.get_rng_state(), before)
    assert (other.recipe, other.classes) == (model.recipe, model.classes)
    np.testing.assert_array_equal(other.probabilities(CLIPS), model.probabilities(CLIPS))
    assert not other.net.training
    other.pack(tmp_path / "again")
    for name in ("config.json", "weights.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "deep" / "model" / name).read_bytes()


def test_a_pack_holds_two_files_and_no_pickle(tmp_path):
    trained().pack(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "weights.safetensors"]
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["format"] == 3 and config["classes"] == ["brown", "white"]
    assert (config["temperature"], config["members"]) == (1.0, 1)
    assert config["values"]["feature.n_mels"] == 16 and config["feature_shape"] == [1, 16, 32]


def test_unpacking_opens_no_pickle_and_no_pretrained_weights(tmp_path, monkeypatch):
    chosen = recipe(
        {k: v for k, v in MEL.items() if k not in ("model.width", "model.blocks")},
        architecture="resnet",
        model__weights="none",
        model__width=0.125,
    )
    model = fit(chosen, noises(8), None, epochs=1, seed=0).classifier
    expected = model.probabilities(CLIPS)
    model.pack(tmp_path)
    text = (tmp_path / "config.json").read_text()
    changed = text.replace('"model.weights": "none"', '"model.weights": "gone/weights.pt"')
    changed = changed.replace('"model.width": 0.125', '"model.width": 1.0')

    def never(*args, **kwargs):
        raise AssertionError("unpacking must not do this")

    for module, name in ((pickle, "load"), (pickle, "loads"), (pickle, "Unpickler"), (torch, "load")):
        monkeypatch.setattr(module, name, never)
    np.testing.assert_array_equal(Classifier.unpack(tmp_path).probabilities(CLIPS), expected)
    (tmp_path / "config.json").write_text(changed)
    with pytest.raises(
        ValueError, match="does not fit its config.json"
    ):  # the wider net was built, without the file
        Classifier.unpack(tmp_path)


def test_the_package_works_under_another_name(tmp_path, monkeypatch):
    model = trained()
    model.pack(tmp_path / "model")
    source = Path(escmodels.__file__).parent
    shutil.copytree(source, tmp_path / "other_name", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.syspath_prepend(tmp_path)
    try:
        other = importlib.import_module("other_name.classifier").Classifier.unpack(tmp_path / "model")
        assert type(other).__module__ == "other_name.classifier"
        assert type(other.recipe).__module__ == "other_name.recipe"
        clips = importlib.import_module("other_name.clips").ClipSet(**vars(CLIPS))
        np.testing.assert_array_equal(other.probabilities(clips), model.probabilities(CLIPS))
    finally:
        for name in [name for name in sys.modules if name.split(".")[0] == "other_name"]:
            del sys.modules[name]


def test_what_is_no_pack_is_refused_in_a_sentence(tmp_path):
    with pytest.raises(ValueError, match="holds no packed classifier"):
        Classifier.unpack(tmp_path)
    trained().pack(tmp_path)
    good = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(good.replace('"format": 3', '"format": 1'))
    with pytest.raises(ValueError, match="format 1, this version reads formats 2 and 3"):
        Classifier.unpack(tmp_path)
    (tmp_path / "config.json").write_text(good[:50])
    with pytest.raises(ValueError, match="holds no packed classifier"):
        Classifier.unpack(tmp_path)
    (tmp_path / "config.json").write_text(good.replace('"model.width": 4', '"model.width": 8'))
    with pytest.raises(ValueError, match="does not fit its config.json"):
        Classifier.unpack(tmp_path)
    (tmp_path / "config.json").write_text(good)
    (tmp_path / "weights.safetensors").write_bytes(b"nonsense")
    with pytest.raises(ValueError, match="weights.safetensors cannot be read"):
        Classifier.unpack(tmp_path)


def test_audio_that_cannot_be_judged_is_refused_in_a_sentence():
    model = trained()
    with pytest.raises(ValueError, match="the audio has no samples"):
        model.windows(np.zeros(0, dtype=np.float32))
    with pytest.raises(ValueError, match="NaN or infinity"):
        model.windows(np.array([0.0, np.nan]))
    with pytest.raises(ValueError, match=r"mono float wave \[T\], got float64 \[2, 9\]"):
        model.windows(np.zeros((2, 9)))
    with pytest.raises(ValueError, match="got int16"):
        model.windows(np.zeros(9, dtype=np.int16))
    with pytest.raises(ValueError, match="the recipe wants 8000 Hz"):
        model.probabilities(ClipSet(**{**vars(CLIPS), "sample_rate": 16000}))
