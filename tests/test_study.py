"""Laws of a study: what it promises about its folder, its data and its code."""

import json
from contextlib import contextmanager

import numpy as np
import pytest
import soundfile
import yaml

from search import study as module
from search.datasets.synthetic import write_esc50_folder
from search.engine import Engine, continued
from search.errors import Failure, Leakage, UsageError
from search.ledger import Ledger
from search.session import _mix
from search.settings import resolve
from search.spec import Spec
from search.studies import changed, create, recorded_engine, reopen, update


@contextmanager
def quiet(label):
    yield lambda done, total: None


@pytest.fixture
def place(tmp_path):
    data = write_esc50_folder(tmp_path / "sounds", sample_rate=8000, seconds=0.5)
    return data, resolve({"home": str(tmp_path / "home")}, {}, tmp_path)


def begin(place, name=None, **asked):
    data, settings = place
    study = create(Spec(str(data), **asked), "smoke", settings, name)
    study.open_clips(settings, quiet)
    study.write({"runner": "local", "workers": None})
    return study


def test_names_are_counted_up_and_a_taken_one_is_refused(place):
    assert begin(place).folder.name == "smoke-synthetic-1"
    assert begin(place).folder.name == "smoke-synthetic-2"
    with pytest.raises(UsageError, match="study smoke-synthetic-1 exists"):
        begin(place, "smoke-synthetic-1")


def test_what_was_asked_comes_back(place):
    asked = {"trials": 7, "hours": 1.5, "fixed": {"optim.lr": 0.002}, "seed": 3, "finalists": 2, "epochs": 4}
    begun = begin(place, "s", **asked)
    again = reopen("s", place[1])
    assert again.spec == begun.spec
    assert (again.epochs, again.space.name) == (4, "smoke")
    ledger = begun.ledger()
    first = again.proposer(ledger, place[1]).ask()
    assert first == begun.proposer(ledger, place[1]).ask()
    assert first[1]["optim.lr"] == 0.002
    ledger.close()


def test_limits_may_change_when_it_is_reopened_and_are_kept(place):
    begin(place, "s", trials=7)
    changed = reopen("s", place[1], trials=9)
    update(changed, {"runner": "local", "workers": 1})
    assert recorded_engine(changed) == {"runner": "local", "workers": 1}
    assert reopen("s", place[1]).spec.trials == 9
    with pytest.raises(UsageError, match="trials must be at least 1"):
        reopen("s", place[1], trials=0)


def test_the_splits_are_written_where_one_can_read_them(place):
    study = begin(place, "s")
    written = json.loads((study.folder / "splits.json").read_text())
    assert [(s["split"], s["valid_fold"], s["test_fold"]) for s in written["splits"]] == [
        (1, 2, 1), (2, 3, 2), (3, 4, 3), (4, 5, 4), (5, 1, 5),
    ]  # fmt: skip
    assert len(written["folds"]) == 400
    assert set(written["folds"].values()) == {1, 2, 3, 4, 5}


def test_trials_are_never_given_a_test_row(place):
    study = begin(place, "s")
    for split, sealed in zip(study.plan().splits, study.splits, strict=True):
        assert not set(sealed.test) & {*split.train, *split.valid}
        assert not hasattr(split, "test")


def refuse(sentence):
    return False


def test_changed_data_are_not_mixed_in(place):
    begin(place, "s")
    file = next((place[0] / "audio").glob("*.wav"))
    samples, rate = soundfile.read(file)
    soundfile.write(file, samples / 2, rate)
    again = reopen("s", place[1])
    again.open_clips(place[1], quiet)
    with pytest.raises(Failure, match="the data at .* have changed since study s began .* --accept-changed"):
        _mix(again, refuse)


def test_changed_code_is_not_mixed_in(place, monkeypatch):
    begin(place, "s")
    monkeypatch.setattr(module, "code_fingerprint", lambda: "other")
    again = reopen("s", place[1])
    again.open_clips(place[1], quiet)
    with pytest.raises(Failure, match="escsearch or torch have changed"):
        _mix(again, refuse)


def test_a_change_that_is_accepted_is_asked_for_once_and_recorded(place, monkeypatch):
    study = begin(place, "s")
    monkeypatch.setattr(module, "code_fingerprint", lambda: "other")
    asked = []
    for _ in range(2):
        again = reopen("s", place[1])
        again.open_clips(place[1], quiet)
        _mix(again, lambda sentence: asked.append(sentence) or True)
        update(again, {})
    assert len(asked) == 1
    ledger = Ledger(study.ledger_path)
    (change,) = ledger.fact("mixed")
    ledger.close()
    assert (change["what"], change["before"], change["now"]) == ("code", study.code, "other")


def test_unchanged_is_unchanged(place):
    begin(place, "s")
    again = reopen("s", place[1])
    again.open_clips(place[1], quiet)
    assert changed(again) == []


def test_a_source_in_two_folds_is_leakage(place):
    table = place[0] / "meta" / "esc50.csv"
    lines = table.read_text().splitlines()
    column = lines[0].split(",").index("src_file")
    first, last = lines[1].split(","), lines[-1].split(",")
    assert first[1] != last[1]  # their folds
    last[column] = first[column]
    table.write_text("\n".join([*lines[:-1], ",".join(last)]) + "\n")
    with pytest.raises(Leakage, match="synthetic"):
        begin(place, "s")
    assert not place[1].study("s").exists()


def test_a_study_that_was_damaged_says_which_file(place):
    study = begin(place, "s")
    (study.folder / "study.yaml").write_text(yaml.safe_dump({"data": 3, "space": "x"})[:-4] + ": : [")
    with pytest.raises(Failure, match=r"study\.yaml cannot be read"):
        reopen("s", place[1])


def test_a_study_goes_on_with_the_workers_it_had_unless_another_runner_is_asked_for(place):
    study = begin(place, "s")
    update(study, {"runner": "ray", "workers": 4, "gpus_per_trial": 0.5, "address": "auto"})
    assert continued(study, None) == Engine("ray", 4, 0.5, address="auto")
    assert continued(study, {"workers": 2}) == Engine("ray", 2, 0.5, address="auto")
    assert continued(study, {"runner": "local"}) == Engine("local")
    update(study, {"runner": "local", "cpus_per_trial": 2})
    assert continued(study, {}) == Engine("local", cpus_per_trial=2)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"runner": "local", "hang_minutes": 5.0}, "leave --hang out"),
        ({"hang_minutes": 0.0}, "must be positive"),
        ({"cpus_per_trial": 0}, "cpus per trial must be at least 1"),
        ({"runner": "local", "workers": 2}, "one recipe at a time"),
        ({"gpus_per_trial": 0.4}, "must be 0, 1/n or a whole number"),
    ],
)
def test_workers_that_cannot_be_are_refused(asked, said):
    with pytest.raises(ValueError, match=said):
        Engine(**asked)


def test_another_seed_of_proposals_leaves_made_folds_alone(tmp_path):
    for label in ("a", "b"):
        (tmp_path / "own" / label).mkdir(parents=True)
        for number in range(6):
            noise = np.random.default_rng(number).normal(size=4000) * 0.1
            soundfile.write(tmp_path / "own" / label / f"{number}.wav", noise, 8000)
    settings = resolve({"home": str(tmp_path / "home")}, {}, tmp_path)
    prints = set()
    for asked in ({"seed": 0}, {"seed": 1}, {"fold_seed": 1}):
        study = create(Spec(str(tmp_path / "own"), folds=3, **asked), "smoke", settings, None)
        study.open_clips(settings, quiet)
        prints.add(study.data)
    assert len(prints) == 2


def test_a_study_that_left_files_out_goes_on_with_its_own_splits(place):
    data, settings = place
    files = sorted((data / "audio").glob("*.wav"))
    files[0].write_bytes(b"")  # undecodable
    files[1].unlink()  # missing
    with pytest.raises(Failure, match="--skip-bad"):
        begin(place, "s")
    begun = begin(place, "s", skip_bad=True)
    left_out = dict(begun.dataset.skipped)
    assert left_out.keys() == {files[0].stem, files[1].stem} and "empty" in left_out[files[0].stem]
    assert json.loads((begun.folder / "splits.json").read_text())["skipped"] == left_out
    again = reopen("s", settings)
    again.open_clips(settings, quiet)
    assert changed(again) == []
    assert dict(again.dataset.skipped) == left_out and again.dataset.clips == begun.dataset.clips


def test_a_study_gets_a_plain_name_whatever_the_folder_is_called(tmp_path, place):
    odd = place[0].rename(tmp_path / "Geräusche vom Hof")
    study = create(Spec(str(odd), format="esc50"), "smoke", place[1], None)
    assert study.folder.name.isascii()


@pytest.mark.parametrize("bad", [{"model": "a/b"}, {"model": "a@b"}, {"model": ""}])
def test_a_model_name_that_no_registry_takes_is_refused_at_once(bad):
    with pytest.raises(ValueError, match="model name"):
        Spec("somewhere", **bad)


@pytest.mark.parametrize("bad", [{"finalists": 0}, {"exam_seeds": 0}, {"epochs": 0}, {"protocol": "random"}])
def test_a_spec_refuses_nonsense(bad):
    with pytest.raises(ValueError, match="at least 1|unknown protocol"):
        Spec("somewhere", **bad)


def test_a_data_set_that_was_moved_is_found_again_where_it_is_said_to_lie(place, tmp_path):
    study = begin(place, "s")
    moved = place[0].rename(tmp_path / "moved")
    with pytest.raises(UsageError, match="no such folder"):
        reopen("s", place[1])
    again = reopen("s", place[1], data=str(moved))
    again.open_clips(place[1], quiet)
    assert changed(again) == []
    assert again.data == study.data
