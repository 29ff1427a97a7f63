"""The shipped model: a refit or an ensemble, its card, its temperature, and what is not trained twice."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from toys import MEL, noises

from escmodels import packed
from escmodels.calibration import fit_temperature
from escmodels.classifier import Classifier
from escmodels.ensemble import Ensemble, unpack
from escmodels.folds import rotating
from search import bundle, predictions
from search.errors import Failure, UsageError
from search.exam import ExamPlan, hold
from search.job import JobFailure
from search.ledger import Ledger
from search.local import LocalRunner
from search.ship import PARTS, expected, refit

CLIPS = noises(18, seed=3)


class Runner(LocalRunner):
    """Remembers its jobs, and may fail or be killed after some of them."""

    def __init__(self):
        super().__init__()
        self.load({CLIPS.sample_rate: CLIPS})
        self.jobs, self.most, self.fails = [], 99, False

    def run_jobs(self, jobs, on_done):
        for job in jobs:
            if len(self.jobs) >= self.most:
                raise KeyboardInterrupt
            self.jobs.append(job)
            if self.fails:
                on_done(job, JobFailure("no luck"))
            else:
                super().run_jobs([job], on_done)


@pytest.fixture
def made(tmp_path):
    """A study whose only trial was examined with two seeds: (study, ledger, runner, row, exam)."""
    ledger = Ledger(tmp_path / "ledger.sqlite", create=True)
    ledger.open_trial(0, MEL)
    facts = {"trial": 0, "phase": "search", "split": 1, "seed": 0}
    for epoch in (1, 2):
        ledger.log_epoch("k", epoch, {"valid_accuracy": 0.5}, **facts)
    ledger.finish_fold("k", score=0.5, loss=1.0, epochs=2, seconds=1.0, predictions=b"")
    ledger.close_trial(0, "complete", 0.5)

    def exam_plan(seeds):
        splits = rotating(CLIPS.folds.tolist())
        return ExamPlan(splits, 2, tuple(range(7, 7 + seeds)), "rotating", "data", "code", len(CLIPS))

    study = SimpleNamespace(
        folder=tmp_path,
        name="here",
        labels=CLIPS,
        spec=SimpleNamespace(seed=7),
        epochs=2,
        code="code",
        data="data",
        dataset=SimpleNamespace(name="noises", licence="CC0", non_commercial=False, synthetic=True),
        exam_plan=exam_plan,
        space=SimpleNamespace(name="toy", limits={}),
    )
    runner = Runner()
    ((row, exam),) = hold(ledger, runner, CLIPS, exam_plan(2), 1, tmp_path)
    runner.jobs.clear()
    yield study, ledger, runner, row, exam
    ledger.close()


def weights(folder):
    return (folder / "weights.safetensors").read_bytes()


def test_a_refit_learns_from_all_clips_and_says_so(made):
    study, _, runner, _, exam = made
    folder = refit(*made)
    (job,) = runner.jobs
    assert sorted(job.train) == list(range(len(CLIPS))) and job.test == () and job.seed == 7
    card = bundle.read_card(folder)
    assert card["shipped"] == "refit on all folds" and card["expected"] == expected(exam, "refit", 1)
    assert folder == study.folder / "model" and isinstance(unpack(folder), Classifier)
    assert not (study.folder / PARTS).exists()


def test_the_card_says_size_speed_and_origin(made):
    folder = refit(*made)
    card, model = bundle.read_card(folder), unpack(folder)
    assert card["params"] == sum(p.numel() for p in model.net.parameters())
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "card.json"]
    assert card["size_bytes"] == sum(path.stat().st_size for path in files)
    assert 0 < card["latency_ms"] < 1000
    assert {"torch", "mlflow", "numpy"} <= card["versions"].keys()
    assert isinstance(card["git_commit"], str)
    assert card["licence"] == "CC0" and card["values"] == MEL


def test_an_ensemble_is_refused_where_the_space_limits_what_a_net_may_cost(made):
    made[0].space.limits = {"params": 1e9}
    with pytest.raises(UsageError, match="an ensemble is several: use --ship refit"):
        refit(*made, how="ensemble")
    assert refit(*made).is_dir()


def test_the_temperature_is_the_exams(made):
    study, _, _, _, exam = made
    found = predictions.read(predictions.place(study.folder, 0))
    fitted = fit_temperature(found.prob_SNK.reshape(-1, 2), np.tile(found.labels, 2))
    folder = refit(*made)
    assert unpack(folder).temperature == bundle.read_card(folder)["temperature"] == exam.temperature
    assert exam.temperature == pytest.approx(fitted)


def test_an_exam_of_an_older_version_has_no_temperature(made):
    study, ledger, runner, row, exam = made
    folder = refit(study, ledger, runner, row, replace(exam, temperature=None))
    assert unpack(folder).temperature == 1 == bundle.read_card(folder)["temperature"]


def test_the_table_of_the_exam_travels_with_the_model(made):
    study, *_ = made
    folder = refit(*made)
    assert (folder / "predictions.csv").read_bytes() == predictions.place(study.folder, 0).read_bytes()
    predictions.place(study.folder, 0).unlink()
    assert not (refit(*made) / "predictions.csv").exists()


def test_the_ensemble_is_made_of_the_models_of_the_exam(made):
    study, ledger, runner, row, exam = made
    folder = refit(*made, "ensemble")
    plan = study.exam_plan(2)
    assert [(job.split, job.seed) for job in runner.jobs] == [
        (split.number, seed) for seed in (7, 8) for split in plan.splits
    ]
    model, card = unpack(folder), bundle.read_card(folder)
    assert isinstance(model, Ensemble) and len(model.members) == 6
    assert card["shipped"] == "ensemble of 6 fold models" and card["seeds"] == [7, 8]
    found = predictions.read(predictions.place(study.folder, 0))
    for number, (job, member) in enumerate(zip(runner.jobs, model.members, strict=True)):
        test = list(plan.splits[number % 3].test)
        assert not set(test) & set(job.train)
        said_NK = found.prob_SNK[number // 3, test]
        np.testing.assert_array_equal(member.probabilities(CLIPS.subset(test)), said_NK)


def test_what_is_there_is_not_trained_again_but_for_another_way(made):
    _, _, runner, _, _ = made
    folder = refit(*made)
    first = weights(folder)
    refit(*made)
    assert len(runner.jobs) == 1 and weights(folder) == first
    refit(*made, "ensemble")
    assert len(runner.jobs) == 7 and weights(folder) != first
    refit(*made, "ensemble")
    assert len(runner.jobs) == 7
    refit(*made)
    assert len(runner.jobs) == 8 and weights(folder) == first


def test_a_repeated_exam_changes_card_and_temperature_alone(made):
    study, ledger, runner, row, exam = made
    first = weights(refit(*made))
    folder = refit(study, ledger, runner, row, replace(exam, mean=0.123, temperature=1.9))
    assert len(runner.jobs) == 1 and weights(folder) == first
    assert unpack(folder).temperature == 1.9 and bundle.read_card(folder)["exam"]["mean"] == 0.123
    config = json.loads((folder / "config.json").read_text())
    assert config["temperature"] == 1.9


def test_what_would_be_written_again_as_it_is_is_left_alone(made):
    study, ledger, runner, row, exam = made
    folder = refit(*made)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert {path: path.stat().st_mtime_ns for path in refit(*made).rglob("*")} == before
    table = predictions.place(study.folder, 0)
    table.write_text(table.read_text() + "\n")
    assert (refit(*made) / "predictions.csv").read_bytes() == table.read_bytes()
    refit(study, ledger, runner, row, replace(exam, temperature=1.9))
    assert unpack(folder).temperature == 1.9
    whole = weights(folder)
    (folder / "code" / "audio.py").unlink()  # damage
    assert (refit(study, ledger, runner, row, replace(exam, temperature=1.9)) / "code" / "audio.py").is_file()
    assert weights(folder) == whole and len(runner.jobs) == 1


@pytest.mark.parametrize("at", [0, 1])
def test_a_kill_while_the_model_is_replaced_does_not_lose_it(made, monkeypatch, at):
    study, ledger, runner, row, exam = made
    first, renames = weights(refit(*made)), []

    def rename(path, target, real=Path.rename):
        renames.append(path)
        if len(renames) > at:
            raise KeyboardInterrupt
        return real(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", rename)
        with pytest.raises(KeyboardInterrupt):
            refit(study, ledger, runner, row, replace(exam, temperature=1.9))
    assert weights(refit(*made)) == first and len(runner.jobs) == 1
    assert {path.name for path in study.folder.glob("model*")} == {"model"}


def test_a_command_cut_short_goes_on(made):
    _, _, runner, _, _ = made
    runner.most = 4
    with pytest.raises(KeyboardInterrupt):
        refit(*made, "ensemble")
    runner.most = 99
    folder = refit(*made, "ensemble")
    assert len(runner.jobs) == 6 and len(unpack(folder).members) == 6


def test_a_training_that_fails_is_said_and_leaves_the_old_model(made):
    study, _, runner, _, _ = made
    first = weights(refit(*made))
    runner.fails = True
    with pytest.raises(Failure, match="model of trial 0 could not be trained: no luck"):
        refit(*made, "ensemble")
    assert weights(study.folder / "model") == first


def test_a_bundle_names_its_files_as_packing_does():
    assert (bundle.CONFIG, bundle.WEIGHTS) == (packed.CONFIG, packed.WEIGHTS)


def test_an_unknown_way_is_refused(made):
    with pytest.raises(UsageError, match="ship is 'both', expected refit or ensemble"):
        refit(*made, "both")


def test_the_score_to_expect_is_one_sentence_that_says_what_was_not_measured(made):
    exam = replace(made[-1], mean=0.832, low=0.795, high=0.864)
    assert "83.2 % (95 % interval 79.5 to 86.4)" in expected(exam, "refit", 1)
    assert "not scored itself" in expected(exam, "refit", 1)
    assert "its 5 models scored 83.2 % (95 % interval 79.5 to 86.4) on average" in expected(
        exam, "ensemble", 5
    )
    assert "not measured" in expected(exam, "ensemble", 5)
