"""Laws of the scores: agreement with scikit-learn, perfect is 1, order is nothing."""

import math

import numpy as np
import pytest
from sklearn import metrics

from escmodels.scores import accuracy, confusion, log_loss, macro_f1

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 4, 200)
PROBS = RNG.dirichlet(np.ones(4), 200)
PREDS = PROBS.argmax(1)


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


def test_nothing_cannot_be_scored():
    with pytest.raises(ValueError, match="no clips"):
        accuracy(np.array([]), np.array([]))
    with pytest.raises(ValueError, match="3 predictions for 2 labels"):
        accuracy(np.zeros(3), np.zeros(2))
