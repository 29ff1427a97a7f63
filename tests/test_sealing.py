"""Laws of a held-out fold: the search never sees it, in no way; the exam scores it once a seed."""

import json
import shutil

import numpy as np
import pytest
import soundfile

from search import session as module
from search.cli import main
from search.engine import Engine
from search.errors import Leakage, UsageError
from search.local import LocalRunner
from search.predictions import place, read
from search.session import open_session
from search.settings import resolve
from search.spec import Spec
from search.studies import create, reopen

RATE, SECONDS, HELD = 8000, 0.3, 3
FOLDS = (1, 2, 3, 4)
SPACE = """
about: two widths
epochs: 2
knobs:
  architecture: mel_cnn
  data.sample_rate: 8000
  data.crop: 0.3
  feature.n_mels: 12
  feature.n_fft: 256
  feature.hop: 128
  model.blocks: 1
  model.width: {type: categorical, choices: [4, 8]}
  optim.batch: 8
  optim.lr: {type: float, low: 1e-3, high: 1e-1, log: true}
"""


def write_sounds(root, held_is_noise=False):
    """Two classes, three clips of each in each of four folds; in fold 3 noise, if asked."""
    rng, other = np.random.default_rng(0), np.random.default_rng(1)
    root.mkdir()
    rows = ["path,label,fold"]
    for fold in FOLDS:
        for label in ("hum", "hiss"):
            for take in range(3):
                wave = rng.standard_normal(int(RATE * SECONDS)) * 0.1
                if label == "hum":
                    wave = np.convolve(wave, np.ones(8) / 3, "same")
                if fold == HELD and held_is_noise:
                    wave = other.uniform(-1, 1, int(RATE * other.uniform(0.2, 0.6)))
                name = f"{label}-{fold}-{take}.wav"
                soundfile.write(root / name, wave, RATE)
                rows.append(f"{name},{label},{fold}")
    (root / "clips.csv").write_text("\n".join(rows) + "\n")
    return root / "clips.csv"


class Silent:
    """Stands for the threads that write to MLflow and for Optuna's tools."""

    trouble = ""

    def __init__(self, *args, **kwargs):
        pass

    def start(self):
        pass

    def finish(self, seconds):
        return 0

    drain = finish


class Spy(LocalRunner):
    """A runner that remembers what it was given, and when."""

    made: list["Spy"] = []

    def __init__(self):
        super().__init__()
        self.loaded, self.events, self.jobs, self.plans = [], [], [], []
        Spy.made.append(self)

    def load(self, clips):
        super().load(clips)
        self.loaded.append(clips[RATE])
        self.events.append("load")

    def search(self, conductor):
        self.events.append("search")
        self.plans.append(conductor.plan)
        super().search(conductor)

    def run_jobs(self, jobs, on_done):
        self.events.append("exam")
        self.jobs += jobs
        super().run_jobs(jobs, on_done)


def places(tmp_path, monkeypatch):
    """A function that makes a data set and says where it lies and where studies of it go."""
    monkeypatch.setattr(module, "ProjectorThread", Silent)
    monkeypatch.setattr(module, "OptunaThread", Silent)
    monkeypatch.setattr(module, "make_runner", lambda engine, settings: Spy())
    monkeypatch.setattr(Spy, "made", [])
    (tmp_path / "space.yaml").write_text(SPACE)

    def make(name="home", **sounds):
        data = write_sounds(tmp_path / f"sounds-{name}", **sounds)
        return data, str(tmp_path / "space.yaml"), resolve({"home": str(tmp_path / name)}, {}, tmp_path)

    return make


@pytest.fixture
def place_of(tmp_path, monkeypatch):
    return places(tmp_path, monkeypatch)


def run(where, examine=True, **asked):
    """Search, and examine if asked; returns the study, its ledger and the runner."""
    data, space, settings = where
    asked = {"protocol": f"held-out {HELD}", "trials": 2, "pruner": "none", "finalists": 1} | asked
    study = create(Spec(str(data), **asked), space, settings, "s")
    with open_session(study, settings, Engine("local"), new=True) as session:
        session.search()
        if examine:
            session.examine()
    return study, study.ledger(), Spy.made[-1]


def waves(clips):
    return {
        name: clips.samples[start : start + length].tobytes()
        for name, start, length in zip(clips.names, clips.starts, clips.lengths, strict=True)
    }


def test_the_runner_has_no_clip_of_the_fold_until_the_search_is_over(place_of):
    _, ledger, runner = run(place_of())
    sealed, whole = runner.loaded
    assert runner.events == ["load", "search", "load", "exam"]
    assert HELD not in sealed.folds and set(sealed.folds.tolist()) == set(FOLDS) - {HELD}
    assert set(whole.names) - set(sealed.names) == {n for n in whole.names if n.split("-")[1] == str(HELD)}
    held = [wave for name, wave in waves(whole).items() if name not in sealed.names]
    there = np.asarray(sealed.samples).tobytes()
    assert len(held) == 6 and not any(
        wave in there for wave in held
    )  # nor beside the clips, in the same file
    assert all(wave in there for name, wave in waves(whole).items() if name in sealed.names)
    assert len(ledger.fact("clips")["labels"]) == len(sealed)


def test_each_other_fold_validates_once_and_the_rest_trains(place_of):
    study, ledger, runner = run(place_of(), examine=False)
    clips = runner.loaded[0]
    (plan,) = runner.plans
    assert [split.number for split in plan.splits] == [1, 2, 4]
    for split in plan.splits:
        assert set(clips.folds[list(split.valid)].tolist()) == {split.number}
        assert set(clips.folds[list(split.train)].tolist()) == {1, 2, 4} - {split.number}
    assert {fold.split for fold in ledger.folds(phase="search")} == {1, 2, 4}
    assert not ledger.folds(phase="exam") and not (study.folder / "exam").exists()


def test_what_a_fold_holds_changes_nothing_of_the_search(place_of):
    told = []
    for where in (place_of("one"), place_of("two", held_is_noise=True)):
        study, ledger, _ = run(where, examine=False, trials=4)
        epochs = [
            [(epoch, {k: v for k, v in metrics.items() if k != "seconds"}) for epoch, metrics, _ in curve]
            for fold in ledger.folds(phase="search")
            if (curve := ledger.epochs(fold.key))
        ]
        trials = [(row.number, row.state, row.values, row.objective) for row in ledger.trials()]
        folds = [(f.trial, f.split, f.score, f.loss, f.predictions) for f in ledger.folds(phase="search")]
        told.append((trials, folds, epochs))
        assert len(trials) == 4 and len(folds) == len(epochs) == 4 * 3
        told.append(study.data)
    assert told[0] == told[2]  # to the last bit
    assert told[1] != told[3]  # and yet the exams of the two are no exams on the same data


def test_the_exam_trains_on_all_other_folds_and_scores_that_one_once_a_seed(place_of):
    study, ledger, runner = run(place_of(), exam_seeds=2)
    whole = runner.loaded[1]
    assert [job.seed for job in runner.jobs] == [0, 1]
    for job in runner.jobs:
        assert set(whole.folds[list(job.test)].tolist()) == {HELD} and job.split == HELD
        assert sorted((*job.train, *job.test)) == list(range(len(whole)))
    (best,) = [row.number for row in ledger.trials() if ledger.fact(f"exam/{row.number}")]
    exam = ledger.fact(f"exam/{best}")["exam"]
    assert (exam["protocol"], exam["data"], exam["clips"]) == (f"held-out {HELD}", study.data, 6)
    assert len(exam["folds"]) == 1 and exam["seeds"] == [0, 1]
    found = read(place(study.folder, best))
    assert set(found.folds.tolist()) == {HELD} and len(found) == 6
    assert {name.split("-")[1] for name in found.names} == {str(HELD)}


def test_an_open_fold_ends_the_search_of_this_session(place_of):
    study, _, _ = run(place_of())
    with pytest.raises(AssertionError, match="a fold that was held out is open"):
        study.plan()


def test_a_study_goes_on_sealed_when_it_is_resumed(place_of):
    where = place_of()
    run(where, trials=1)
    study = reopen("s", where[2], trials=2)
    with open_session(study, where[2], Engine("local")) as session:
        session.search()
        session.examine()
    runner = Spy.made[-1]
    assert runner.events == ["load", "search", "load", "exam"]
    assert HELD not in runner.loaded[0].folds
    assert study.spec.protocol == f"held-out {HELD}"


def test_the_folders_say_what_was_held_out(place_of):
    study, ledger, _ = run(place_of(), examine=False)
    written = json.loads((study.folder / "splits.json").read_text())
    assert written["protocol"] == f"held-out {HELD}"
    assert [split["test_fold"] for split in written["splits"]] == [None] * 3
    assert [(s["split"], s["valid_fold"], s["test_fold"]) for s in written["exam"]] == [(HELD, None, HELD)]
    facts = ledger.fact("study")
    assert facts["protocol"] == f"held-out {HELD}" and facts["order"] == [1, 2, 4]
    assert dict(facts["splits"])[HELD]["test_fold"] == HELD


def test_a_copy_between_that_fold_and_another_is_leakage(place_of):
    data, space, settings = place_of()
    shutil.copy(data.parent / "hum-1-0.wav", data.parent / "hum-3-0.wav")
    with pytest.raises(Leakage, match=r"hum-1-0.wav and hum-3-0.wav hold the same audio .folds 1 and 3"):
        run((data, space, settings), examine=False)


def test_a_fold_that_is_not_there_is_refused_before_anything_is_decoded(place_of):
    data, space, settings = place_of()
    said = "--held-out 9: clips has the folds 1, 2, 3, 4; name one of them"
    with pytest.raises(UsageError, match=said):
        create(Spec(str(data), protocol="held-out 9"), space, settings, "s")
    assert not settings.home.exists()


def test_a_class_that_only_that_fold_has_is_refused(place_of):
    data, space, settings = place_of()
    data.write_text(data.read_text().replace("hum-3-0.wav,hum,3", "hum-3-0.wav,bang,3"))
    with pytest.raises(UsageError, match="--held-out 3: clips has class bang in this fold alone"):
        create(Spec(str(data), protocol="held-out 3"), space, settings, "s")


def test_a_class_that_one_fold_has_alone_is_refused_of_a_nested_study_before_it_begins(place_of):
    data, space, settings = place_of()
    data.write_text(data.read_text().replace("hum-3-0.wav,hum,3", "hum-3-0.wav,bang,3"))
    said = "--nested: clips has class bang in fold 3 alone, .*; leave the class out with --classes"
    with pytest.raises(UsageError, match=said):
        create(Spec(str(data), protocol="nested"), space, settings, "s")
    assert not settings.home.exists()
    create(Spec(str(data), protocol="held-out 2"), space, settings, "s")  # there it is known


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--held-out", "0"], "--held-out 0: folds are numbered from 1"),
        (["--held-out", "7"], "--held-out 7: clips has the folds 1, 2, 3, 4; name one of them"),
        (["--nested", "--model", "m"], "--nested makes no model, so that --model m means nothing"),
        (["--nested", "--warm-start", "s"], "--nested begins with --warm-start s, which has seen the folds"),
    ],
)
def test_the_command_line_refuses_in_one_sentence(place_of, capsys, words, said):
    data, space, settings = place_of()
    code = main(
        ["run", space, "--data", str(data), "--home", str(settings.home), "--runner", "local", *words]
    )
    printed = capsys.readouterr()
    assert code == 2 and printed.out == ""
    assert printed.err.count("\n") == 1 and said in printed.err
