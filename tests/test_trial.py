"""Laws of a trial, with a `fit` that trains nothing."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

from escmodels.fit import Diverged, EpochScore, Fitted
from escmodels.folds import SearchSplit
from search import trial as module
from search.trial import Assignment, DeviceLost, Plan, run_trial

VALUES = {"architecture": "mel_cnn"}
PLAN = Plan((SearchSplit(1, (0, 1), (2, 3)), SearchSplit(2, (2, 3), (0, 1))), epochs=3, seed=7)


class Clips:
    """Stands for a clip set; remembers which rows were asked for."""

    def __init__(self):
        self.asked = []
        self.labels, self.lengths, self.classes = np.array([0, 1, 0, 1]), np.array([8, 8, 6, 9]), ("a", "b")

    def subset(self, rows):
        part = Clips()
        self.asked.append(rows)
        part.labels = self.labels[list(rows)]
        return part


@pytest.fixture
def clips():
    return Clips()


def fake_fit(**behaviour):
    def fit(recipe, train, valid, *, epochs, seed, device, on_epoch):
        if error := behaviour.get("raises"):
            raise error
        assert (epochs, seed) == (3, 7)
        scores = tuple(EpochScore(epoch, 1.0 / epoch, 0.5, epoch / 4, 0.1, 0.2) for epoch in (1, 2, 3))
        for score in scores:
            on_epoch(score)
        return Fitted(None, scores, np.array([[0.9, 0.1], [0.6, 0.4]], np.float32))

    return fit


def run(monkeypatch, clips, finished=(), **behaviour):
    monkeypatch.setattr(module, "fit", fake_fit(**behaviour))
    reports = []
    run_trial(Assignment(4, VALUES, frozenset(finished)), PLAN, lambda rate: clips, reports.append)
    return reports


def test_every_epoch_is_reported_once_and_the_last_with_the_result(monkeypatch, clips):
    reports = run(monkeypatch, clips)
    assert [(r.split, r.epoch, r.result is not None) for r in reports] == [
        (1, 1, False), (1, 2, False), (1, 3, True), (2, 1, False), (2, 2, False), (2, 3, True),
    ]  # fmt: skip
    result = reports[2].result
    assert result.score == 0.5  # both taken for class 0, one of them is
    assert np.frombuffer(result.predictions, np.int16).tolist() == [0, 0]
    assert reports[0].metrics["valid_accuracy"] == 0.25


def test_only_train_and_validation_rows_are_touched(monkeypatch, clips):
    run(monkeypatch, clips)
    assert clips.asked == [(0, 1), (2, 3), (2, 3), (0, 1)]


@pytest.mark.parametrize(("most", "trained"), [(5.0, True), (4.0, False)])
def test_a_recipe_above_a_limit_is_told_and_not_trained(monkeypatch, clips, most, trained):
    monkeypatch.setattr(module, "costs", lambda recipe, clip, device, wanted: {"params": 5.0})
    monkeypatch.setattr(module, "fit", fake_fit())
    reports, plan = [], replace(PLAN, costs=("params",), limits={"params": most})
    run_trial(Assignment(4, VALUES), plan, lambda rate: clips, reports.append)
    assert reports[0].costs == {"params": 5.0}
    if trained:
        assert len(reports) == 1 + 2 * 3 and not any(report.over for report in reports)
    else:
        assert [report.over for report in reports[1:]] == ["over the limits: 5 parameters, at most 4"]


def test_finished_splits_are_not_trained_again(monkeypatch, clips):
    assert {report.split for report in run(monkeypatch, clips, finished=[1])} == {2}


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (Diverged(2), "diverged: the loss was no finite number in epoch 2"),
        (ValueError("no\nroom"), "ValueError: no room"),
        (RuntimeError("out of memory"), "RuntimeError: out of memory"),
    ],
)
def test_a_training_that_cannot_go_on_is_reported_in_one_line(monkeypatch, clips, error, says):
    (report,) = run(monkeypatch, clips, raises=error)
    assert report.failed == says


def test_being_told_to_stop_is_no_failure(monkeypatch, clips):
    monkeypatch.setattr(module, "fit", fake_fit())

    def report(_):
        raise SystemExit  # how Ray stops a trial

    with pytest.raises(SystemExit):
        run_trial(Assignment(0, VALUES), PLAN, lambda rate: clips, report)


def test_what_report_raises_is_not_taken_for_a_failed_training(monkeypatch, clips):
    monkeypatch.setattr(module, "fit", fake_fit())

    def report(_):
        raise ValueError("a bug of the listener")

    with pytest.raises(ValueError, match="a bug of the listener"):
        run_trial(Assignment(0, VALUES), PLAN, lambda rate: clips, report)


@pytest.mark.parametrize("error", [KeyError("bug"), OSError("bug"), IndexError("bug")])
def test_a_bug_fails_its_trial_and_is_told_with_its_place(monkeypatch, clips, error):
    (report,) = run(monkeypatch, clips, raises=error)
    place, text = report.failed.split(": ")
    assert place.startswith(f"{type(error).__name__} at test_trial.py:")
    assert "bug" in text


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("std::bad_alloc"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("std::bad_alloc"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory"
        ),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    ],
)
def test_too_little_memory_is_told_as_that(monkeypatch, clips, error):
    (report,) = run(monkeypatch, clips, raises=error)
    assert report.memory == f"{type(error).__name__}: {error}"
    assert not report.failed


@pytest.mark.parametrize(
    ("error", "memory"),
    [
        (torch.AcceleratorError("CUDA error: an illegal memory access was encountered"), False),
        (torch.AcceleratorError("CUDA error: device-side assert triggered"), False),
        (RuntimeError("CUDA error: uncorrectable ECC error encountered"), False),
        (RuntimeError("CUDA error: unspecified launch failure"), False),
        (RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`"), False),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), False),
        (RuntimeError("Triton Error [CUDA]: an illegal memory access was encountered"), False),
        (torch.AcceleratorError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
    ],
)
def test_a_gpu_that_takes_no_more_work_is_no_fault_of_the_recipe(monkeypatch, clips, error, memory):
    with pytest.raises(DeviceLost) as raised:
        run(monkeypatch, clips, raises=error)
    lost = pickle.loads(pickle.dumps(raised.value))
    assert (str(lost), lost.memory) == (f"{type(error).__name__}: {error}", memory)


# costs


def test_costs_that_are_known_are_not_measured_again(monkeypatch, clips):
    wanted = []
    monkeypatch.setattr(
        module,
        "costs",
        lambda recipe, clip, device, names: wanted.append(list(names)) or dict.fromkeys(names, 7.0),
    )
    monkeypatch.setattr(module, "fit", fake_fit())
    plan, reports = replace(PLAN, costs=("params", "latency")), []
    run_trial(Assignment(4, VALUES, costs={"params": 3.0}), plan, lambda rate: clips, reports.append)
    assert wanted == [["latency"]] and reports[0].costs == {"params": 3.0, "latency": 7.0}
    run_trial(Assignment(4, VALUES, costs=reports[0].costs), plan, lambda rate: clips, reports.append)
    assert len(wanted) == 1


def test_a_time_over_its_limit_is_taken_twice_and_the_shorter_one_counts(monkeypatch, clips):
    times, heard = iter([9.0, 4.0]), []

    def costs(recipe, clip, device, names):
        heard.append(clip.lengths.tolist())
        return {"latency": next(times)}

    monkeypatch.setattr(module, "costs", costs)
    monkeypatch.setattr(module, "fit", fake_fit())
    plan, reports = replace(PLAN, costs=("latency",), limits={"latency": 5.0}), []
    run_trial(Assignment(4, VALUES), plan, lambda rate: clips, reports.append)
    assert reports[0].costs == {"latency": 4.0} and not any(report.over for report in reports)
    assert heard == [[8], [8]]  # a clip as long as the median of the training clips
