"""Laws of presets and of figures as published: what leaks is known to leak, and no model comes of it."""

import json

import layouts
import numpy as np
import pytest
import soundfile

from escmodels import published
from escmodels.clips import ClipSet
from escmodels.fit import EpochScore
from escmodels.published import PROTOCOLS, cut, reported, splits
from search.cli import main
from search.datasets.synthetic import write_esc50_folder
from spaces.load import SpaceError, find, load, shipped
from spaces.published import PROTOCOLS as NAMES
from spaces.space import dimensions

PRESETS = {
    "raw_1d_esc50", "features_esc50", "transfer_esc50", "mel_cnn_us8k", "gammatone_cnn_us8k",
    "augmented_mel_cnn_esc50", "aclnet_esc50", "cnn_lstm_us8k", "mel_cnn_esc50",
}  # fmt: skip
RATE, LENGTH, CLIPS, FOLDS = 100, 250, 40, 5


def clips():
    """Clips of 2.5 s that hold their own row in every sample, so that windows can be traced."""
    rows = np.arange(CLIPS)
    return ClipSet(
        np.repeat(rows + 100, LENGTH).astype(np.int16),
        rows * LENGTH,
        np.full(CLIPS, LENGTH),
        rows % 4,
        rows % FOLDS + 1,
        rows,
        tuple(f"c{row}" for row in rows),
        ("a", "b", "c", "d"),
        RATE,
    )


def test_every_seed_system_is_a_preset_of_one_recipe():
    assert {name.removeprefix("seeds/") for name in shipped() if name.startswith("seeds/")} == PRESETS
    for name in PRESETS:
        space = load(f"seeds/{name}")
        assert space.published is not None and dimensions(space) == (0, 0) and space.about
        assert find(f"spaces/seeds/{name}.yaml").samefile(find(f"seeds/{name}"))


def test_what_a_preset_may_name_is_what_can_be_done():
    assert tuple(PROTOCOLS) == NAMES


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        (
            "{data: D, protocol: random clip}",
            "published: unknown protocol 'random clip', known: random clips, ",
        ),
        ("{data: D}", "published has no 'protocol'"),
        ("{data: D, protocol: random clips, figure: 1}", "published has the unknown key 'figure'"),
        ("92 %", "published must be a mapping of keys and values"),
    ],
)
def test_a_mistake_in_what_was_published_is_named_with_its_line(tmp_path, told, reason):
    path = tmp_path / "x.yaml"
    path.write_text(f"epochs: 1\npublished: {told}\nknobs: {{optim.batch: 4}}\n")
    with pytest.raises(SpaceError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}:2: {reason}")


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_training_has_all_clips_once_on_one_of_its_sides(name):
    whole = cut(clips(), 100) if PROTOCOLS[name].windows else clips()
    parts = splits(PROTOCOLS[name], clips(), 100, seed=3)
    for train, test in parts:
        assert sorted((*train.names, *test.names)) == sorted(whole.names)
    if PROTOCOLS[name].folds == "all":
        assert sorted(name for _, test in parts for name in test.names) == sorted(whole.names)
        assert all(not set(train.folds) & set(test.folds) for train, test in parts)
    else:
        assert len(parts) == 1 and len(parts[0][1]) == len(whole) // 5


def test_windows_at_random_put_one_clip_on_both_sides_and_clips_at_random_do_not():
    (train, test), (others, tested) = (
        splits(PROTOCOLS[name], clips(), 100, seed=0)[0] for name in ("random windows", "random clips")
    )
    assert set(train.sources) & set(test.sources)
    assert not set(others.sources) & set(tested.sources)


def test_a_split_at_random_depends_on_its_seed_alone():
    def tested(seed):
        return splits(PROTOCOLS["random clips"], clips(), 100, seed)[0][1].names

    assert tested(1) == tested(1) != tested(2)


def test_windows_lie_in_their_clips():
    windows = cut(clips(), 100)
    for row in range(len(windows)):
        heard = windows.take([row], 0, int(windows.lengths[row])).numpy()
        assert set(heard.ravel()) == {100 + windows.sources[row]}
    assert len(windows) == 4 * CLIPS and set(windows.lengths) == {100}


def test_too_little_to_split_is_said():
    with pytest.raises(ValueError, match="at least 3 are needed"):
        splits(PROTOCOLS["random clips"], clips().subset([0, 1]), 100, 0)
    with pytest.raises(ValueError, match="there is one fold"):
        splits(PROTOCOLS["last on test"], clips().subset([0, 5]), 100, 0)


def test_the_best_epoch_flatters_and_the_last_one_does_not():
    scores = [EpochScore(n, 1.0, 1.0, accuracy, 0.1, 1.0) for n, accuracy in enumerate((0.2, 0.6, 0.5), 1)]
    assert reported(PROTOCOLS["best on test"], scores) == (2, 0.6)
    assert reported(PROTOCOLS["last on test"], scores) == (3, 0.5)


# from the command line

PRESET = """
about: tiny
epochs: 3
published: {data: synthetic, reported: 99 %, protocol: PROTOCOL}
knobs:
  architecture: mel_cnn
  data.sample_rate: 8000
  data.crop: 0.5
  feature.n_mels: 16
  feature.n_fft: 256
  feature.hop: 128
  model.width: 4
  model.blocks: 2
  optim.batch: 16
"""


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("published") / "sounds"
    return write_esc50_folder(folder, sample_rate=8000, seconds=1.0)


@pytest.fixture
def run(tmp_path, sounds, capsys, monkeypatch):
    """Run `run` with a preset of some protocol; returns exit code and both outputs."""
    monkeypatch.chdir(tmp_path)

    def run(*words, protocol="random windows", text=PRESET):
        (tmp_path / "tiny.yaml").write_text(text.replace("PROTOCOL", protocol))
        common = ["--data", str(sounds), "--home", str(tmp_path / "runs")]
        code = main(["run", "tiny.yaml", *common, "--as-published", *words])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_a_figure_as_published_is_labelled_kept_and_promoted_by_nobody(run, tmp_path, capsys):
    code, out, _ = run("--study", "leaky", "--json")
    found = json.loads(out)
    assert code == 0 and found["label"].startswith("as published: NOT an honest figure")
    assert json.loads((tmp_path / "runs/leaky/published.json").read_text()) == found
    assert found["accuracy"] == found["trainings"][0]["accuracy"] == found["trainings"][0]["last"]
    assert sorted(path.name for path in (tmp_path / "runs/leaky").iterdir()) == ["published.json"]
    for words in (["promote", "leaky"], ["resume", "leaky"], ["report", "leaky"], ["exam", "leaky"]):
        assert main([*words, "--home", str(tmp_path / "runs")]) == 2
        assert "leaky is a figure as published and no study" in capsys.readouterr().err
    code, again, _ = run("--study", "again", "--json")
    assert json.loads(again)["trainings"] == found["trainings"]  # the same seed, the same figure
    code, _, err = run("--study", "leaky")
    assert code == 2 and "leaky is a figure as published, kept at" in err and "choose another --study" in err


def test_the_name_of_a_figure_is_taken_from_the_start_and_free_again_where_it_came_to_nothing(run, tmp_path):
    seen = []

    def gone(*args, **kwargs):
        seen.append((tmp_path / "runs/here").is_dir())
        raise RuntimeError("no luck")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("escmodels.fit.fit", gone)
        code, _, err = run("--study", "here")
    assert code == 1 and "could not be trained as published" in err
    assert seen == [True] and not (tmp_path / "runs/here").exists()


def test_every_fold_is_reported_at_its_best_epoch_where_the_source_did_so(run):
    best, last = (
        json.loads(run("--study", name.replace(" ", "-"), "--json", protocol=name)[1])
        for name in ("best on test", "last on test")
    )
    assert len(best["trainings"]) == len(last["trainings"]) == FOLDS
    for flattered, plain in zip(best["trainings"], last["trainings"], strict=True):
        assert flattered["last"] == plain["accuracy"] <= flattered["accuracy"]
        assert plain["epoch"] == 3


def test_the_box_says_what_the_figure_is_and_how_to_get_an_honest_one(run):
    code, out, _ = run("--epochs", "2", "--set", "optim.batch=8", "--seed", "3", "--format", "esc50")
    assert code == 0
    text = " ".join(out.split())
    assert (
        "NOT an honest figure" in text
        and "reported 99 %" in text
        and "epochs 2 of the 3 of the preset" in text
    )
    assert "--format esc50 --set optim.batch=8 --epochs 2 --seed 3 --trials 1" in text
    assert "--as-published" not in text


@pytest.fixture(scope="module")
def urban(tmp_path_factory):
    """A set in the layout of UrbanSound8K whose files hold noise, each class at a loudness of its own."""
    root = layouts.urbansound8k(tmp_path_factory.mktemp("urban") / "us8k")
    chance = np.random.default_rng(0)
    for path in sorted(root.rglob("*.wav")):
        loudness = 0.3 if "-3-" in path.name else 0.05
        soundfile.write(path, chance.normal(0, loudness, 4 * 8000), 8000)
    return root


@pytest.mark.parametrize("name", sorted(name for name in PRESETS if name.endswith("us8k")))
def test_presets_of_urban_sounds_run_on_a_set_in_that_layout(urban, tmp_path, capsys, name):
    words = ["--data", str(urban), "--epochs", "1", "--home", str(tmp_path / "runs"), "--json"]
    assert main(["run", f"seeds/{name}", *words, "--as-published"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["data"] == "urbansound8k" and found["epochs"] == 1 and found["asked"] > 1
    (training,) = found["trainings"]
    windows = "windows" in found["published"]["protocol"]
    assert training["tested"] == (56 if windows else 8)  # a fifth of 40 clips; seven windows a clip


@pytest.mark.parametrize(
    ("words", "text", "reason"),
    [
        (
            (),
            PRESET.replace("published: {data: synthetic, reported: 99 %, protocol: PROTOCOL}", ""),
            "does not say how",
        ),
        ((), PRESET.replace("model.width: 4", "model.width: {type: int, low: 4, high: 8}"), "has open knobs"),
        (("--pruner", "none"), PRESET, "so that --pruner means nothing"),
        (("--runner", "ray"), PRESET, "so that --runner ray means nothing"),
        (("--try", "optim.lr=0.1"), PRESET, "so that --try means nothing"),
        (("--trials", "3"), PRESET, "so that --trials means nothing"),
        (("--sampler", "cmaes"), PRESET, "so that --sampler means nothing"),
        (("--no-exam",), PRESET, "so that --no-exam means nothing"),
        (("--cpus-per-trial", "-1"), PRESET, "cpus per trial must be at least 1, got -1"),
        (("--gpus-per-trial", "-1"), PRESET, "gpus per trial must be 0, 1/n or a whole number, got -1"),
    ],
)
def test_what_cannot_be_done_as_published_is_one_sentence(run, tmp_path, words, text, reason):
    code, out, err = run(*words, text=text)
    assert code == 2 and reason in err and "Traceback" not in err and not out
    assert not (tmp_path / "runs" / "tiny-sounds-1").exists()


def test_nothing_honest_imports_how_figures_are_flattered():
    """Only the command of that name comes to these protocols."""
    from pathlib import Path

    root = Path(published.__file__).parents[1]
    named = {
        path.relative_to(root).as_posix()
        for package in ("escmodels", "search")
        for path in (root / package).rglob("*.py")
        if "from escmodels.published import" in path.read_text(encoding="utf-8")
    }
    assert named == {"search/published.py"}
