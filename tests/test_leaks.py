"""Ten leaks, planted one by one: each is caught by the audit and by a study, or cannot be made at all.

The set has official folds (the layout of ESC-50), so nothing may be mended silently.
"""

import csv
import io
import json
import shutil
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from test_similar import late
from test_warped import RATE, events, stretched

from escmodels.fit import fit
from escmodels.folds import SearchSplit, rotating
from escmodels.recipe import parse
from search.cli import main
from search.datasets.dataset import open_dataset
from search.datasets.waves.store import prepare
from search.errors import Leakage
from search.settings import resolve
from search.spec import Spec
from search.studies import create
from search.trial import Plan

COLUMNS = ("filename", "fold", "target", "category", "esc10", "src_file", "take")
LABELS = ("dog", "rain")
SECONDS = 2.0


def add_row(root: Path, name: str, fold: int, target: int, source: str) -> None:
    table = root / "meta" / "esc50.csv"
    fresh = not table.exists()
    with table.open("a", newline="") as file:
        if fresh:
            csv.writer(file).writerow(COLUMNS)
        csv.writer(file).writerow([name, fold, target, LABELS[target], False, source, "A"])


def add(root: Path, name: str, wave: np.ndarray, fold: int, source: str, rate: int = RATE, **how) -> None:
    soundfile.write(root / "audio" / name, wave, rate, **how)
    add_row(root, name, fold, 0, source)


@pytest.fixture(scope="module")
def clean(tmp_path_factory) -> Path:
    """Two classes, five folds, two recordings each."""
    root = tmp_path_factory.mktemp("clean") / "set"
    (root / "audio").mkdir(parents=True)
    (root / "meta").mkdir()
    for fold in range(1, 6):
        for target in range(2):
            for take in range(2):
                source = f"{fold}{target}{take}"
                name = f"{fold}-{source}-A-{target}.wav"
                soundfile.write(root / "audio" / name, events(int(source), SECONDS), RATE)
                add_row(root, name, fold, target, source)
    return root


@pytest.fixture
def place(clean, tmp_path) -> Path:
    return Path(shutil.copytree(clean, tmp_path / "set"))


ORIGINAL = "1-100-A-0.wav"  # fold 1, class dog


def wave_of(root: Path, name: str = ORIGINAL) -> np.ndarray:
    return soundfile.read(root / "audio" / name, dtype="float32")[0]


def encoded(wave: np.ndarray, rate: int, container: str, subtype: str) -> np.ndarray:
    file = io.BytesIO()
    soundfile.write(file, wave, rate, format=container, subtype=subtype)
    file.seek(0)
    return soundfile.read(file, dtype="float32")[0]


def plant_twice(root):
    shutil.copy(root / "audio" / ORIGINAL, root / "audio" / "1-100-A-0 (copy).wav")
    add_row(root, "1-100-A-0 (copy).wav", 3, 0, "100")


def plant_renamed(root):
    shutil.copy(root / "audio" / ORIGINAL, root / "audio" / "3-900-A-0.wav")
    add_row(root, "3-900-A-0.wav", 3, 0, "900")


def plant_ogg(root):
    add(root, "3-900-A-0.ogg", wave_of(root), 3, "900", format="OGG", subtype="VORBIS")


def plant_mp3(root):
    add(root, "3-900-A-0.mp3", wave_of(root), 3, "900", format="MP3")


def plant_gain(root):
    add(root, "3-900-A-0.wav", 0.08 * wave_of(root), 3, "900")


def plant_shifted(root):
    add(root, "3-900-A-0.wav", late(0.83)(wave_of(root), RATE)[0][: round(SECONDS * RATE)], 3, "900")


def plant_resampled(root):
    add(root, "3-900-A-0.wav", soxr.resample(wave_of(root), RATE, 8000), 3, "900", rate=8000)


def plant_take(root):
    add(root, "3-100-B-0.wav", events(9000, SECONDS), 3, "100")


def plant_augmented(root):
    rng = np.random.default_rng(0)
    noisy = 0.4 * np.roll(wave_of(root), 5000) + 0.001 * rng.standard_normal(round(SECONDS * RATE))
    add(root, "3-900-A-0.wav", noisy.astype(np.float32), 3, "900")


def plant_stretched(root):
    add(root, "3-900-A-0.wav", stretched(wave_of(root), 1.12), 3, "900")


def plant_windows(root):
    long = events(9001, 2 * SECONDS)
    half = round(SECONDS * RATE / 2)
    for number, fold in enumerate((2, 4)):
        window = long[number * half : number * half + 2 * half]
        add(root, f"{fold}-90{number}-A-0.wav", window, fold, f"90{number}")


PAIR = "1-100-A-0 (fold 1) and 3-900-A-0 (fold 3) hold the same audio (similarity "
PLANTED = {  # kind -> how, what the audit says, what a study says
    "same file twice": (
        plant_twice,
        "1-100-A-0 (fold 1) and 1-100-A-0 (copy) (fold 3) are the same, byte for byte",
        "source 100 is in two folds: 1-100-A-0 in fold 1, 1-100-A-0 (copy) in fold 3",
    ),
    "renamed": (
        plant_renamed,
        "1-100-A-0 (fold 1) and 3-900-A-0 (fold 3) are the same, byte for byte",
        "1-100-A-0 and 3-900-A-0 hold the same audio (folds 1 and 3; similarity 1.00)",
    ),
    "re-encoded to OGG": (plant_ogg, PAIR, "hold the same audio (folds 1 and 3; similarity 0."),
    "re-encoded to MP3": (plant_mp3, PAIR, "hold the same audio (folds 1 and 3; similarity 0."),
    "gain changed": (plant_gain, PAIR, "hold the same audio (folds 1 and 3; similarity "),
    "shifted": (plant_shifted, PAIR, "the second begins 0.8"),
    "resampled": (plant_resampled, PAIR, "hold the same audio (folds 1 and 3; similarity "),
    "two takes of one source": (
        plant_take,
        "source 100 is in folds 1 (1-100-A-0) and 3 (3-100-B-0)",
        "source 100 is in two folds: 1-100-A-0 in fold 1, 3-100-B-0 in fold 3; put each source into one fold",
    ),
    "augmented copy: noise, gain, roll": (plant_augmented, PAIR, "hold the same audio (folds 1 and 3"),
    "windows of one recording": (
        plant_windows,
        "2-900-A-0 (fold 2) and 4-901-A-0 (fold 4) hold the same audio",
        "2-900-A-0 and 4-901-A-0 hold the same audio (folds 2 and 4; similarity ",
    ),
}


@contextmanager
def quiet(label):
    yield lambda done, total: None


def open_study(data: Path, home: Path, **asked):
    settings = resolve({"home": str(home)}, {}, home)
    study = create(Spec(str(data), **asked), "smoke", settings, None)
    study.open_clips(settings, quiet)
    return study


def test_the_clean_set_has_no_leak(place, tmp_path, capsys):
    assert main(["data", "audit", str(place)]) == 0
    assert "no leak found in 20 clips" in capsys.readouterr().out
    assert open_study(place, tmp_path).similar == 0


@pytest.mark.parametrize("kind", PLANTED)
def test_the_audit_names_it_and_exits_3(place, kind, capsys):
    plant, says, _ = PLANTED[kind]
    plant(place)
    code = main(["data", "audit", str(place)])
    stdout = capsys.readouterr().out
    assert code == 3 and "LEAK: " in stdout
    assert says in next(line for line in stdout.splitlines() if line.startswith("  leak"))


@pytest.mark.parametrize("kind", PLANTED)
def test_no_study_begins_on_it(place, tmp_path, kind):
    plant, _, says = PLANTED[kind]
    plant(place)
    with pytest.raises(Leakage) as caught:
        open_study(place, tmp_path)
    assert caught.value.code == 3 and says in str(caught.value) and "\n" not in str(caught.value)


def test_a_copy_at_another_tempo_is_a_matter_of_the_audit_where_folds_are_official(place, capsys):
    plant_stretched(place)
    assert main(["data", "audit", str(place)]) == 3
    assert "the second plays at 1.1" in capsys.readouterr().out
    assert main(["data", "audit", str(place), "--quick"]) == 0


def test_folds_that_are_made_keep_a_copy_at_another_tempo_with_its_original(place, tmp_path):
    """Own recordings beside what augmentation wrote to disk, in one folder a class."""
    plant_stretched(place)
    own = tmp_path / "own"
    for path in (place / "audio").iterdir():
        label = LABELS[int(path.stem[-1])]
        (own / label).mkdir(parents=True, exist_ok=True)
        shutil.move(path, own / label / path.name)
    for seed in range(5):
        study = open_study(own, tmp_path, fold_seed=seed)
        folds = dict(zip(study.labels.names, study.labels.folds.tolist(), strict=True))
        assert folds[f"dog/{ORIGINAL}"] == folds["dog/3-900-A-0.wav"]


def test_the_command_exits_3_with_one_sentence_and_leaves_no_study(place, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plant_gain(place)
    home = tmp_path / "home"
    code = main(["run", "smoke", "--data", str(place), "--runner", "local", "--home", str(home)])
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert code == 3 and last.startswith("escsearch: esc50: 1-100-A-0 and 3-900-A-0 hold the same audio")
    assert "data audit" in last and "--accept-similar" in last
    assert not list(home.glob("*/study.yaml"))


def test_accepting_it_is_recorded(place, tmp_path):
    plant_gain(place)
    study = open_study(place, tmp_path, accept_similar=True)
    assert study.similar == 1
    study.write({})
    assert "accept_similar: true" in (study.folder / "study.yaml").read_text()


def test_a_source_in_two_folds_cannot_be_accepted(place, tmp_path):
    plant_take(place)
    with pytest.raises(Leakage):
        open_study(place, tmp_path, accept_similar=True)


def test_a_table_cannot_list_one_file_twice(place, capsys):
    add_row(place, ORIGINAL, 3, 0, "100")
    assert main(["data", "audit", str(place)]) == 2
    assert "stands in the table twice" in capsys.readouterr().err


def test_windows_in_a_manifest_stay_with_their_recording(tmp_path, capsys):
    """Segments of one file in two folds, whatever the table says about their sources."""
    for number in range(6):
        soundfile.write(tmp_path / f"{number}.wav", events(number, 3.0), RATE)
    rows = [
        f"{n}.wav,{LABELS[n % 2]},{1 + (n + piece) % 3},{1.5 * piece:g},{1.5 * piece + 1.5:g}"
        for n in range(6)
        for piece in range(2)
    ]
    table = tmp_path / "manifest.csv"
    table.write_text("path,label,fold,start,end\n" + "\n".join(rows))
    assert main(["data", "audit", str(table)]) == 3
    assert "source 0.wav is in folds 1 (0.wav[0-1.5]) and 2 (0.wav[1.5-3])" in capsys.readouterr().out
    table.write_text(
        "path,label,start,end\n" + "\n".join(",".join(np.delete(row.split(","), 2)) for row in rows)
    )
    dataset = open_dataset(table, folds=3)
    folds = {}
    for clip in dataset.clips:
        folds.setdefault(clip.path, set()).add(clip.fold)
    assert all(len(numbers) == 1 for numbers in folds.values())


def test_splits_edited_by_hand_cannot_part_a_source(place, tmp_path, capsys):
    own = tmp_path / "own"
    for target, label in enumerate(LABELS):
        (own / label).mkdir(parents=True)
        for number in range(8):
            name = f"{label}{number // 2}_{number % 2}.wav"
            soundfile.write(own / label / name, events(100 * target + number, 1.0), RATE)
    where = ["--source-regex", "^(.+?)_", "--home", str(tmp_path)]
    splits = tmp_path / "splits.json"
    assert main(["data", "folds", str(own), *where, "--folds", "4", "--out", str(splits)]) == 0
    document = json.loads(splits.read_text())
    document["folds"]["dog/dog0_1.wav"] = document["folds"]["dog/dog0_0.wav"] % 4 + 1
    splits.write_text(json.dumps(document))
    capsys.readouterr()
    for words in (["data", "audit", str(own)], ["run", "smoke", "--runner", "local", "--data", str(own)]):
        assert main([*words, *where, "--splits", str(splits)]) == 3
        assert "dog0" in "".join(capsys.readouterr())  # a finding of the audit, a refusal of the run


def test_statistics_know_the_training_clips_only(place, tmp_path):
    """Whatever lies in the other folds, a training comes out the same to the last bit."""
    clips = prepare(open_dataset(place), 8000, tmp_path).clips
    split = rotating(clips.folds.tolist())[0]
    recipe = parse({"architecture": "mel_cnn", "model.width": 4, "data.sample_rate": 8000})
    loud = replace(clips, samples=np.array(clips.samples))
    rng = np.random.default_rng(0)
    for row in (*split.valid, *split.test):
        span = slice(clips.starts[row], clips.starts[row] + clips.lengths[row])
        loud.samples[span] = rng.integers(-30000, 30000, clips.lengths[row])
    for some, name in ((clips, "as it is"), (loud, "loud")):
        train, valid = some.subset(split.train), some.subset(split.valid)
        fit(recipe, train, valid, epochs=1, seed=0).classifier.pack(tmp_path / name)
    for file in ("weights.safetensors", "config.json"):
        assert (tmp_path / "as it is" / file).read_bytes() == (tmp_path / "loud" / file).read_bytes()


def test_a_trial_is_never_told_the_test_rows(place, tmp_path):
    plan: Plan = open_study(place, tmp_path).plan()
    assert all(type(split) is SearchSplit for split in plan.splits)
    assert not any("test" in name for name in SearchSplit.__dataclass_fields__)


REAL = {
    "same file twice": lambda wave, rate: None,
    "re-encoded to OGG": lambda wave, rate: (wave, rate),
    "gain changed": lambda wave, rate: (0.1 * wave, rate),
    "shifted": lambda wave, rate: (late(0.7)(wave, rate)[0][: len(wave)], rate),
    "resampled": lambda wave, rate: (soxr.resample(wave, rate, 16000), 16000),
    "augmented": lambda wave, rate: (stretched(np.roll(wave, rate) * 0.5, 0.93), rate),
}


@pytest.fixture(scope="module")
def real(esc10_root, tmp_path_factory) -> Path:
    """ESC-10 by links: planting changes nothing of the original."""
    root = tmp_path_factory.mktemp("real") / "ESC-10"
    for folder in esc10_root.glob("0*"):
        (root / folder.name).mkdir(parents=True)
        for path in folder.glob("*.ogg"):
            (root / folder.name / path.name).symlink_to(path)
    return root


@pytest.mark.slow
def test_esc_10_itself_has_no_leak(real, capsys):
    assert main(["data", "audit", str(real)]) == 0
    assert (
        "no leak found in 400 clips (79,800 pairs compared); 1 known of the official folds"
        in capsys.readouterr().out
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", REAL)
def test_a_leak_planted_in_esc_10_is_found_among_400_clips(real, kind, capsys):
    rain = next(real.glob("* - Rain"))
    original = min(rain.glob("1-*.ogg"))
    planted = rain / "4-999999-A.ogg"
    made = REAL[kind](*soundfile.read(original, dtype="float32"))
    try:
        if made is None:
            shutil.copy(original, planted)
        else:
            soundfile.write(planted, *made, format="OGG", subtype="VORBIS")
        assert main(["data", "audit", str(real)]) == 3
    finally:
        planted.unlink(missing_ok=True)
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("  leak"))
    assert original.stem in line and "4-999999-A (fold 4)" in line


@pytest.mark.slow
def test_a_second_take_planted_in_another_fold_of_esc_10_is_found(real, capsys):
    rain = next(real.glob("* - Rain"))
    planted = rain / f"4-{min(rain.glob('1-*.ogg')).stem.split('-')[1]}-Z.ogg"
    soundfile.write(planted, events(1, 5.0), RATE, format="OGG", subtype="VORBIS")
    try:
        assert main(["data", "audit", str(real), "--quick"]) == 3
    finally:
        planted.unlink()
    assert "source " in capsys.readouterr().out
