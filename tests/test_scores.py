"""Laws of the scores: agreement with scikit-learn, perfect is 1, order is nothing."""

import dataclasses
import math

import numpy as np
import pytest
from sklearn import metrics

from escmodels.clips import ClipSet
from escmodels.scores import (
    Exam,
    accuracy,
    bootstrap_interval,
    comparable,
    confusion,
    examine,
    log_loss,
    macro_f1,
)

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 4, 200)
PROBS = RNG.dirichlet(np.ones(4), 200)
PREDS = PROBS.argmax(1)


def clips(labels, folds, sources) -> ClipSet:
    N = len(labels)
    count = np.arange(N)
    names = tuple(f"clip{number}" for number in count)
    table = (np.asarray(column) for column in (labels, folds, sources))
    return ClipSet(np.zeros(N, np.int16), count, count * 0 + 1, *table, names, ("a", "b", "c", "d"), 8000)


def test_scores_agree_with_scikit_learn():
    assert accuracy(PREDS, LABELS) == pytest.approx(metrics.accuracy_score(LABELS, PREDS))
    assert macro_f1(PREDS, LABELS) == pytest.approx(metrics.f1_score(LABELS, PREDS, average="macro"))
    assert log_loss(PROBS, LABELS) == pytest.approx(metrics.log_loss(LABELS, PROBS))
    np.testing.assert_array_equal(confusion(PREDS, LABELS, 4), metrics.confusion_matrix(LABELS, PREDS))


def test_macro_f1_of_missing_classes_agrees_with_scikit_learn():
    pred, label = np.array([0, 0, 5, 2]), np.array([0, 2, 0, 2])
    assert macro_f1(pred, label) == pytest.approx(metrics.f1_score(label, pred, average="macro"))


def test_perfect_predictions_score_one():
    sure = np.eye(4)[LABELS]
    assert accuracy(LABELS, LABELS) == macro_f1(LABELS, LABELS) == 1.0
    assert log_loss(sure, LABELS) == 0.0
    assert bootstrap_interval(np.ones(200), LABELS) == (1.0, 1.0)


def test_golden_values():
    pred, label = np.array([0, 1, 1, 2]), np.array([0, 1, 2, 2])
    assert accuracy(pred, label) == 0.75
    assert macro_f1(pred, label) == pytest.approx((1 + 2 / 3 + 2 / 3) / 3)
    assert confusion(pred, label, 3).tolist() == [[1, 0, 0], [0, 1, 0], [0, 1, 1]]
    assert log_loss(np.array([[0.5, 0.5], [0.1, 0.9]]), np.array([0, 0])) == pytest.approx(math.log(20) / 2)
    assert math.isfinite(log_loss(np.array([[1.0, 0.0]], dtype=np.float32), np.array([1])))


def test_the_order_of_clips_changes_nothing():
    order = RNG.permutation(200)
    assert accuracy(PREDS[order], LABELS[order]) == accuracy(PREDS, LABELS)
    assert macro_f1(PREDS[order], LABELS[order]) == macro_f1(PREDS, LABELS)
    assert log_loss(PROBS[order], LABELS[order]) == pytest.approx(log_loss(PROBS, LABELS))
    source, right = np.arange(200) // 4, PREDS == LABELS
    assert bootstrap_interval(right[order], source[order]) == pytest.approx(bootstrap_interval(right, source))


def test_the_interval_is_wider_when_clips_share_sources():
    right_by_source = np.random.default_rng(1).random(50) < 0.7
    right, source = np.repeat(right_by_source, 8), np.repeat(np.arange(50), 8)
    low, high = bootstrap_interval(right, source)
    low_alone, high_alone = bootstrap_interval(right, np.arange(400))
    assert low < right.mean() < high
    assert (high - low) / (high_alone - low_alone) == pytest.approx(math.sqrt(8), rel=0.15)


def test_the_interval_of_independent_clips_is_the_binomial_one():
    right = np.arange(400) % 5 != 0
    low, high = bootstrap_interval(right, np.arange(400))
    half = 1.96 * math.sqrt(0.8 * 0.2 / 400)
    assert (low, high) == pytest.approx((0.8 - half, 0.8 + half), abs=0.006)


def test_the_interval_follows_the_seed_and_narrows_with_the_level():
    right, source = PREDS == LABELS, np.arange(200) // 2
    assert bootstrap_interval(right, source, seed=1) == bootstrap_interval(right, source, seed=1)
    assert bootstrap_interval(right, source, seed=1) != bootstrap_interval(right, source, seed=2)
    low, high = bootstrap_interval(right, source, level=0.5)
    wide = bootstrap_interval(right, source)
    assert wide[0] < low < high < wide[1]


def exam(**changes) -> Exam:
    labels, folds = np.arange(40) % 4, np.repeat([1, 2, 3, 4], 10)
    first = np.eye(4)[labels]
    second = first.copy()
    second[:5] = np.roll(second[:5], 1, axis=1)  # seed 1 misses half of fold 1
    judged = examine(
        {0: first, 1: second},
        clips(labels, folds, np.arange(40) // 2),
        protocol="rotating",
        data="0123456789abcdef",
        validation=0.95,
        trials=20,
    )
    return dataclasses.replace(judged, **changes)


def test_an_exam_averages_seeds_within_folds_and_folds_within_the_mean():
    judged = exam()
    assert judged.folds == pytest.approx((0.75, 1, 1, 1)) and judged.mean == pytest.approx(0.9375)
    assert judged.low < judged.mean < judged.high and judged.seeds == (0, 1) and judged.clips == 40
    assert judged.gap == pytest.approx(0.95 - 0.9375)
    assert judged.macro_f1 < 1


def test_folds_of_unequal_size_count_the_same_and_so_does_their_interval():
    labels, folds = np.zeros(110, int), np.repeat([1, 2], [100, 10])
    wrong_in_two = np.eye(4)[np.where(folds == 2, np.arange(110) % 2, 0)]
    judged = examine(
        {0: wrong_in_two},
        clips(labels, folds, np.arange(110)),
        protocol="p",
        data="d",
        validation=0.5,
        trials=1,
    )
    assert judged.folds == (1.0, 0.5) and judged.mean == 0.75
    assert judged.low < 0.72 and 0.78 < judged.high < 0.95


def test_an_exam_comes_back_from_json_bit_for_bit():
    assert Exam.from_json(exam().to_json()) == exam()
    with pytest.raises(ValueError, match="not an exam"):
        Exam.from_json('{"mean": 1.0}')


def test_figures_of_different_protocols_or_data_cannot_be_compared():
    comparable(exam(), exam(mean=0.1))
    with pytest.raises(ValueError, match="protocol 'rotating' against 'held-out'"):
        comparable(exam(), exam(protocol="held-out"))
    with pytest.raises(ValueError, match="data"):
        comparable(exam(), exam(data="ffff"))


def test_an_exam_with_a_hole_is_refused():
    set_of = clips([0, 1], [1, 2], [0, 1])
    rest = {"protocol": "p", "data": "d", "validation": 0.5, "trials": 1}
    with pytest.raises(ValueError, match="1 clips without a prediction, first 'clip1'"):
        examine({0: np.array([[1, 0, 0, 0], [np.nan] * 4])}, set_of, **rest)
    with pytest.raises(ValueError, match="at least one seed"):
        examine({}, set_of, **rest)
    with pytest.raises(ValueError, match="shape"):
        examine({0: np.ones((2, 3))}, set_of, **rest)


def test_nothing_cannot_be_scored():
    with pytest.raises(ValueError, match="no clips"):
        accuracy(np.array([]), np.array([]))
    with pytest.raises(ValueError, match="3 predictions for 2 labels"):
        accuracy(np.zeros(3), np.zeros(2))
