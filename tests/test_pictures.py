"""Pictures and the commands that make them."""

import argparse
import json

import numpy as np
import pytest
import soundfile
from test_audio import tone

from search.commands import data
from search.datasets import synthetic
from search.datasets.dataset import open_dataset
from search.datasets.pictures import BANDS, class_sheet, hz_to_mel, log_mel, mel_bank, mel_to_hz, typical
from search.errors import Failure
from search.settings import Settings


@pytest.fixture
def sounds(tmp_path):
    root = tmp_path / "My Sounds"
    for label, hz in (("Low hum", 200), ("high", 3000)):
        (root / label).mkdir(parents=True)
        for take in range(3):
            soundfile.write(root / label / f"{take}.wav", tone(0.5, 16000, hz) * (take + 1) / 4, 16000)
    return root


def test_one_picture_a_class_in_the_order_of_the_classes(sounds, tmp_path):
    dataset = open_dataset(sounds, folds=3)
    paths = class_sheet(dataset, tmp_path / "out" / "deep")
    assert [path.name for path in paths] == ["00_low_hum.png", "01_high.png"]
    for path in paths:
        assert path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 10_000


def test_the_typical_clip_is_of_median_loudness(sounds):
    for take, level in enumerate((0.2, 0.9, 0.05)):
        soundfile.write(sounds / "high" / f"{take}.wav", tone(0.5, 16000) * level, 16000)
    (sounds / "high" / "3.wav").write_bytes(b"nothing")
    clips = [clip for clip in open_dataset(sounds, folds=0).clips if clip.label == "high"]
    assert typical(clips)[0].name == "high/0.wav"


def test_bad_clips_are_passed_over_until_none_is_left(sounds, tmp_path):
    (sounds / "high" / "1.wav").write_bytes(b"nothing")
    assert len(class_sheet(open_dataset(sounds, folds=3), tmp_path / "out")) == 2
    for take in range(3):
        (sounds / "high" / f"{take}.wav").write_bytes(b"nothing")
    with pytest.raises(Failure, match="class high: none of 3 clips tried can be decoded, last: 2.wav"):
        class_sheet(open_dataset(sounds, folds=3), tmp_path / "out")


def test_a_folder_that_cannot_be_written_is_one_sentence(sounds, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(Failure, match="pictures cannot be written"):
        class_sheet(open_dataset(sounds, folds=3), tmp_path / "file" / "out")


@pytest.mark.parametrize("rate", [8000, 16000, 44100, 192000])
@pytest.mark.parametrize("hz", [300.0, 1000.0, 3000.0])
def test_a_tone_lies_in_its_band_and_its_time(rate, hz):
    wave = np.concatenate([np.zeros(rate, np.float32), tone(1.0, rate, hz)])
    db_MN, time_edges, mel_edges = log_mel(wave, rate)
    assert db_MN.shape == (BANDS, len(time_edges) - 1) and len(mel_edges) == BANDS + 1
    band, frame = np.unravel_index(db_MN.argmax(), db_MN.shape)
    spacing = mel_edges[1] - mel_edges[0]
    assert mel_edges[band] - spacing < hz_to_mel(hz) < mel_edges[band + 1] + spacing
    assert db_MN.max() == 0 and time_edges[frame] > 0.9
    assert time_edges[-1] == pytest.approx(2.0, abs=0.1)


def test_a_clip_of_a_few_samples_and_silence_can_be_drawn():
    for wave in (np.ones(1, np.float32), np.zeros(5000, np.float32)):
        assert np.isfinite(log_mel(wave, 16000)[0]).all()


def test_the_mel_scale_goes_both_ways_and_agrees_with_torchaudio():
    import torchaudio.functional

    hz = np.array([40.0, 999.0, 1000.0, 4567.0, 20000.0])
    np.testing.assert_allclose(mel_to_hz(hz_to_mel(hz)), hz)
    edges = mel_to_hz(np.linspace(hz_to_mel(50), hz_to_mel(8000), 42))
    reference = torchaudio.functional.melscale_fbanks(257, 50.0, 8000.0, 40, 16000, "slaney", "slaney")
    np.testing.assert_allclose(mel_bank(edges, 16000, 512), reference.numpy().T, atol=1e-6)


@pytest.fixture
def escsearch(tmp_path, capsys):
    """Run a data command; returns exit code and both outputs."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true")
    root = argparse.ArgumentParser()
    data.add(root.add_subparsers(), common)
    settings = Settings(tmp_path / "home", "sqlite://", "sqlite://", "local", {})

    def run(*words: object) -> tuple[int, str, str]:
        args = root.parse_args(["data", *map(str, words)])
        code = args.act(args, settings)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def test_synth_then_show_prints_paths(escsearch, tmp_path, monkeypatch):
    monkeypatch.setitem(synthetic.write_esc50_folder.__kwdefaults__, "seconds", 0.25)
    code, printed, _ = escsearch("synth", tmp_path / "set", "--seed", 4, "--json")
    assert (code, json.loads(printed)["clips"], json.loads(printed)["seed"]) == (0, 400, 4)
    code, printed, remarks = escsearch("synth", tmp_path / "set", "--force")
    assert printed.strip() == str(tmp_path / "set") and "synthetic" in remarks


def test_show_names_the_licence_and_the_pictures(escsearch, sounds, tmp_path):
    code, printed, remarks = escsearch("show", sounds, "--source-regex", r"(.)\.wav")
    assert code == 0 and "00_low_hum.png" in printed and "licence not known" in remarks
    code, printed, _ = escsearch("show", sounds, "--out", tmp_path / "out", "--json")
    report = json.loads(printed)
    assert report["clips"] == {"Low hum": 3, "high": 3} and not report["official_folds"]
    assert report["pictures"] == [str(tmp_path / "out" / name) for name in ("00_low_hum.png", "01_high.png")]
