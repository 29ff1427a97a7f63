"""Laws of the exam, with a runner that trains nothing."""

import json
import sqlite3

import numpy as np
import pytest

from escmodels.clips import ClipSet
from escmodels.exams import Exam, examine
from escmodels.folds import rotating
from search.errors import Failure
from search.exam import ExamPlan, finalists, hold
from search.job import JobFailure, JobResult
from search.ledger import Ledger
from search.looks import caution
from search.predictions import place, read

FOLDS, CLIPS = 4, 24


@pytest.fixture
def clips():
    rows = np.arange(CLIPS)
    return ClipSet(
        samples=np.full(CLIPS * 4, 1000, np.int16),
        starts=rows * 4,
        lengths=np.full(CLIPS, 4),
        labels=rows % 2,
        folds=rows % FOLDS + 1,
        sources=rows,
        names=tuple(f"c{row}" for row in rows),
        classes=("a", "b"),
        sample_rate=8000,
    )


@pytest.fixture
def ledger(tmp_path):
    ledger = Ledger(tmp_path / "ledger.sqlite", create=True)
    for trial, objective in enumerate((0.6, 0.9, 0.9, 0.7)):
        ledger.open_trial(trial, {"x": trial})
        facts = {"trial": trial, "phase": "search", "split": 1, "seed": 0}
        for epoch in (1, 2):
            ledger.log_epoch(f"k{trial}", epoch, {"valid_accuracy": objective}, **facts)
        ledger.finish_fold(f"k{trial}", score=objective, loss=1.0, epochs=2, seconds=1.0, predictions=b"")
        ledger.close_trial(trial, "complete", objective)
    ledger.open_trial(4, {"x": 4})
    ledger.close_trial(4, "pruned", None, "behind")
    yield ledger
    ledger.close()


class Oracle:
    """A runner whose models are right about `share` of the clips of every test fold; it remembers its jobs."""

    def __init__(self, clips, stop_after=None):
        self.clips, self.stop_after, self.jobs = clips, stop_after, []

    def run_jobs(self, jobs, on_done):
        for job in jobs:
            if len(self.jobs) == self.stop_after:
                raise KeyboardInterrupt
            self.jobs.append(job)
            labels = self.clips.labels[list(job.test)].copy()
            labels[0] = 1 - labels[0]  # one wrong in every test fold
            probabilities = np.where(np.arange(2) == labels[:, None], 0.9, 0.1).astype(np.float32)
            on_done(job, JobResult((2.0, 1.0), 1.0, probabilities, {}))


def plan(clips, seeds=(0,)):
    return ExamPlan(rotating(clips.folds.tolist()), 2, seeds, "rotating", "data", "code", len(clips))


def test_finalists_are_the_best_complete_trials_and_the_earlier_among_equals(ledger):
    assert [row.number for row in finalists(ledger, 3)] == [1, 2, 3]


def test_without_a_complete_trial_there_is_no_exam(tmp_path):
    with pytest.raises(Failure, match="no trial of this study is complete"):
        finalists(Ledger(tmp_path / "new.sqlite", create=True), 3)


def test_every_test_fold_is_scored_once_and_never_trained_on(ledger, clips):
    runner = Oracle(clips)
    ((row, exam),) = hold(ledger, runner, clips, plan(clips), 1, ledger.path.parent)
    assert row.number == 1
    assert sorted(np.concatenate([job.test for job in runner.jobs]).tolist()) == list(range(CLIPS))
    for job in runner.jobs:
        assert not set(job.train) & set(job.test)
        assert sorted([*job.train, *job.test]) == list(range(CLIPS))  # train + validation
    assert exam.mean == pytest.approx(1 - FOLDS / CLIPS)
    assert exam.folds == pytest.approx((5 / 6,) * FOLDS)
    assert exam.gap == pytest.approx(0.9 - exam.mean)
    assert exam.trials == 5


def test_an_exam_counts_how_often_the_search_went_on_after_a_look(ledger, clips):
    def look(seeds=(0,)):
        ((_, exam),) = hold(ledger, Oracle(clips), clips, plan(clips, seeds), 1, ledger.path.parent)
        return exam

    first = look()
    assert first.looks == 1 and caution(first) == ""
    assert look().looks == look(seeds=(0, 1)).looks == 1  # repeated, nothing was searched in between
    ledger.open_trial(5, {"x": 5})
    second = look()
    assert second.looks == 2
    assert caution(second).startswith("the test folds were opened 2 times, with searching in between")
    assert Exam.from_json(second.to_json()) == second


def test_a_trial_that_ends_between_two_looks_counts_though_none_was_begun(ledger, clips):
    ledger.open_trial(5, {"x": 5})
    hold(ledger, Oracle(clips), clips, plan(clips), 1, ledger.path.parent)
    ledger.close_trial(5, "pruned", None, "behind")
    ((_, exam),) = hold(ledger, Oracle(clips), clips, plan(clips), 1, ledger.path.parent)
    assert exam.looks == 2


def test_looks_of_before_they_were_counted_are_known_by_their_exams(ledger, clips):
    hold(ledger, Oracle(clips), clips, plan(clips), 1, ledger.path.parent)
    with sqlite3.connect(ledger.path) as older:
        older.execute("DELETE FROM facts WHERE name = 'looks'")
    older.close()
    ((_, again),) = hold(ledger, Oracle(clips), clips, plan(clips), 1, ledger.path.parent)
    assert again.looks == 1  # nothing was searched since
    with sqlite3.connect(ledger.path) as older:
        older.execute("DELETE FROM facts WHERE name = 'looks'")
    older.close()
    ledger.open_trial(5, {"x": 5})
    ((_, exam),) = hold(ledger, Oracle(clips), clips, plan(clips), 1, ledger.path.parent)
    assert exam.looks == 2


def test_a_look_counts_though_the_exam_was_cut_off(ledger, clips):
    with pytest.raises(KeyboardInterrupt):
        hold(ledger, Oracle(clips, stop_after=2), clips, plan(clips), 1, ledger.path.parent)
    ledger.open_trial(5, {"x": 5})
    ((_, exam),) = hold(ledger, Oracle(clips), clips, plan(clips), 1, ledger.path.parent)
    assert exam.looks == 2


class Picky(Oracle):
    """A runner that cannot train some trials."""

    def __init__(self, clips, cannot):
        super().__init__(clips)
        self.cannot = cannot

    def run_jobs(self, jobs, on_done):
        for job in jobs:
            if job.trial in self.cannot:
                on_done(job, JobFailure("no room"))
        super().run_jobs([job for job in jobs if job.trial not in self.cannot], on_done)


def test_a_runner_up_that_cannot_be_trained_is_left_out_by_name(ledger, clips, capsys):
    examined = hold(ledger, Picky(clips, {2}), clips, plan(clips), 3, ledger.path.parent)
    assert [row.number for row, _ in examined] == [1, 3]
    assert (
        "trial 2 could not be trained again and is left out of the exam: no room" in capsys.readouterr().err
    )


def test_a_winner_that_cannot_be_trained_is_a_failure_and_what_was_done_stands(ledger, clips):
    with pytest.raises(Failure, match="the winner, trial 1, could not be trained again: no room"):
        hold(ledger, Picky(clips, {1}), clips, plan(clips), 2, ledger.path.parent)
    assert len(ledger.folds(2, "exam")) == FOLDS


def test_the_winner_is_known_before_a_test_fold_is_opened(ledger, clips):
    (first, _), (second, _) = hold(ledger, Oracle(clips), clips, plan(clips), 2, ledger.path.parent)
    assert (first.number, second.number) == (1, 2)  # by objective, whatever their exams say


def test_an_exam_cut_short_goes_on_and_scores_no_test_fold_twice(ledger, clips):
    with pytest.raises(KeyboardInterrupt):
        hold(ledger, Oracle(clips, stop_after=3), clips, plan(clips), 1, ledger.path.parent)
    rest = Oracle(clips)
    hold(ledger, rest, clips, plan(clips), 1, ledger.path.parent)
    assert len(rest.jobs) == FOLDS - 3
    assert len(ledger.folds(1, "exam")) == FOLDS


def test_seeds_are_trained_each_and_recorded(ledger, clips):
    runner = Oracle(clips)
    ((_, exam),) = hold(ledger, runner, clips, plan(clips, seeds=(0, 1)), 1, ledger.path.parent)
    assert exam.seeds == (0, 1)
    assert len(runner.jobs) == 2 * FOLDS


def test_the_predictions_of_every_finalist_are_kept_as_a_table(ledger, clips):
    folder = ledger.path.parent
    hold(ledger, Oracle(clips), clips, plan(clips, seeds=(4, 5)), 2, folder)
    assert sorted(file.name for file in (folder / "exam").iterdir()) == ["t001.csv", "t002.csv"]
    found = read(place(folder, 1))
    assert found.names == clips.names and found.seeds == (4, 5) and found.classes == clips.classes
    for name in ("folds", "labels", "sources"):
        assert np.array_equal(getattr(found, name), getattr(clips, name))
    exam = examine(found, protocol="rotating", data="data", validation=0.9, trials=5)
    assert json.loads(exam.to_json()) == ledger.fact("exam/1")["exam"]


def test_an_exam_of_an_older_version_is_given_its_table_and_sent_again(ledger, clips):
    folder = ledger.path.parent
    changes = []
    for _ in range(3):
        hold(ledger, Oracle(clips), clips, plan(clips), 1, folder)
        changes.append(sum(change.kind == "exam" for change in ledger.changes("reader", 1000)))
        if len(changes) == 1:
            place(folder, 1).unlink()
    assert changes == [1, 2, 2]


def test_the_record_holds_confusion_and_figures(ledger, clips):
    hold(ledger, Oracle(clips), clips, plan(clips), 1, ledger.path.parent)
    record = ledger.fact("exam/1")
    assert np.sum(record["confusion"]) == CLIPS
    assert np.trace(record["confusion"]) == CLIPS - FOLDS
    assert json.loads(json.dumps(record["exam"]))["protocol"] == "rotating"


def test_progress_counts_fold_runs(ledger, clips):
    seen = []
    hold(
        ledger,
        Oracle(clips),
        clips,
        plan(clips),
        1,
        ledger.path.parent,
        lambda done, total: seen.append((done, total)),
    )
    assert seen == [(done, FOLDS) for done in range(FOLDS + 1)]


def test_a_winner_on_a_plateau_is_examined_and_recorded_with_the_steps_it_took(ledger, clips):
    plateau = {"schedule": "plateau", "schedule.patience": 1, "schedule.gamma": 0.5, "schedule.warmup": 0.0}
    ledger.open_trial(5, plateau)
    facts = {"trial": 5, "phase": "search", "split": 1, "seed": 0}
    for epoch, lr in ((1, 0.1), (2, 0.05)):
        ledger.log_epoch("k5", epoch, {"valid_accuracy": 0.95, "lr": lr}, **facts)
    ledger.finish_fold("k5", score=0.95, loss=1.0, epochs=2, seconds=1.0, predictions=b"")
    ledger.close_trial(5, "complete", 0.95)
    runner = Oracle(clips)
    ((row, _),) = hold(ledger, runner, clips, plan(clips), 1, ledger.path.parent)
    steps = {"schedule": "step", "schedule.at": "0.5", "schedule.gamma": 0.5, "schedule.warmup": 0.0}
    assert row.number == 5 and row.values == steps == ledger.fact("exam/5")["values"] == ledger.fact(
        "settled/5"
    )
    assert all(job.values == steps for job in runner.jobs)
    assert ledger.trial(5).values == plateau  # the search's own record stays


def test_finalists_that_settled_on_the_same_values_share_their_trainings(ledger, clips, tmp_path):
    curve = {"trial": 5, "phase": "search", "split": 1, "seed": 0}
    ledger.open_trial(5, {"x": 1})  # as trial 1; found to be the same only by what was settled
    for epoch in (1, 2):
        ledger.log_epoch("k5", epoch, {"valid_accuracy": 0.9}, **curve)
    ledger.finish_fold("k5", score=0.9, loss=1.0, epochs=2, seconds=1.0, predictions=b"")
    ledger.close_trial(5, "complete", 0.9)
    runner = Oracle(clips)
    (_, first), (_, second), (row, third) = hold(ledger, runner, clips, plan(clips), 3, tmp_path)
    assert row.number == 5 and third.folds == first.folds
    assert len(runner.jobs) == len({job.key for job in runner.jobs}) == 2 * FOLDS


def test_a_finalist_without_curves_of_its_own_trains_the_whole_schedule(ledger, clips, tmp_path):
    ledger.open_trial(5, {"x": 5})
    ledger.close_trial(5, "complete", 0.99)
    runner = Oracle(clips)
    hold(ledger, runner, clips, plan(clips), 1, tmp_path)
    assert {(job.trial, job.stop_after) for job in runner.jobs} == {(5, 2)}


def test_after_an_accepted_change_an_exam_counts_again_though_it_came_to_the_same(ledger, clips, tmp_path):
    hold(ledger, Oracle(clips), clips, plan(clips), 1, tmp_path)
    before = ledger.fact("exam/1")["time"]
    hold(ledger, Oracle(clips), clips, plan(clips), 1, tmp_path)
    assert ledger.fact("exam/1")["time"] == before  # nothing is sent twice
    ledger.write_fact("mixed", [{"what": "code", "before": "a", "now": "b", "time": before + 1e-6}])
    hold(ledger, Oracle(clips), clips, plan(clips), 1, tmp_path)
    assert ledger.fact("exam/1")["time"] > before + 1e-6
