"""Laws of the scores: golden values, agreement with scikit-learn, perfect is 1, order and names are nothing."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics

from escmodels.scores import accuracy, confusion, log_loss, macro_f1, precision_K, recall_K, top_k_accuracy

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 4, 200)
PROBS = RNG.dirichlet(np.ones(4), 200)
PREDS = PROBS.argmax(1)
TABLE = confusion(PREDS, LABELS, 4)
GOLDEN = json.loads(Path(__file__).with_name("golden").joinpath("scores.json").read_text(encoding="utf-8"))


def floats(values):
    return np.array(values, dtype=float)  # null is nan


@pytest.mark.parametrize("case", GOLDEN, ids=[case["case"] for case in GOLDEN])
def test_golden_values(case):
    label, prob = np.array(case["labels"]), np.array(case.get("probabilities", [[]]))
    pred = np.array(case["predicted"]) if "predicted" in case else prob.argmax(axis=1)
    assert accuracy(pred, label) == pytest.approx(case["accuracy"])
    if "confusion" in case:
        table = confusion(pred, label, case["classes"])
        assert table.tolist() == case["confusion"]
        assert macro_f1(pred, label) == pytest.approx(case["macro_f1"])
        np.testing.assert_allclose(recall_K(table), floats(case["recall"]))
        np.testing.assert_allclose(precision_K(table), floats(case["precision"]))
    if "log_loss" in case:
        assert log_loss(prob, label) == pytest.approx(case["log_loss"])
    for k, share in case.get("top_k", {}).items():
        assert top_k_accuracy(prob, label, int(k)) == share


def test_scores_agree_with_scikit_learn():
    assert accuracy(PREDS, LABELS) == pytest.approx(metrics.accuracy_score(LABELS, PREDS))
    assert macro_f1(PREDS, LABELS) == pytest.approx(metrics.f1_score(LABELS, PREDS, average="macro"))
    assert log_loss(PROBS, LABELS) == pytest.approx(metrics.log_loss(LABELS, PROBS))
    np.testing.assert_array_equal(TABLE, metrics.confusion_matrix(LABELS, PREDS))
    np.testing.assert_allclose(recall_K(TABLE), metrics.recall_score(LABELS, PREDS, average=None))
    np.testing.assert_allclose(precision_K(TABLE), metrics.precision_score(LABELS, PREDS, average=None))
    for k in (1, 2, 3):
        expected = metrics.top_k_accuracy_score(LABELS, PROBS, k=k)
        assert top_k_accuracy(PROBS, LABELS, k) == pytest.approx(expected)


def test_macro_f1_of_missing_classes_agrees_with_scikit_learn():
    pred, label = np.array([0, 0, 5, 2]), np.array([0, 2, 0, 2])
    assert macro_f1(pred, label) == pytest.approx(metrics.f1_score(label, pred, average="macro"))


def test_perfect_predictions_score_one():
    sure, table = np.eye(4)[LABELS], confusion(LABELS, LABELS, 4)
    assert accuracy(LABELS, LABELS) == macro_f1(LABELS, LABELS) == top_k_accuracy(sure, LABELS, 1) == 1.0
    assert recall_K(table).tolist() == precision_K(table).tolist() == [1.0] * 4
    assert log_loss(sure, LABELS) == 0.0


def test_a_sure_mistake_costs_a_finite_loss():
    assert math.isfinite(log_loss(np.array([[1.0, 0.0]], dtype=np.float32), np.array([1])))


def test_the_best_of_one_is_the_accuracy_also_where_probabilities_are_equal():
    tied = np.array([[0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [0.2, 0.4, 0.4]])
    labels = np.array([0, 1, 2])
    assert top_k_accuracy(tied, labels, 1) == accuracy(tied.argmax(axis=1), labels) == pytest.approx(1 / 3)
    assert top_k_accuracy(tied, labels, 2) == 1.0


def test_more_guesses_are_never_worse_and_all_of_them_are_always_right():
    shares = [top_k_accuracy(PROBS, LABELS, k) for k in (1, 2, 3, 4)]
    assert shares == sorted(shares) and shares[0] == accuracy(PREDS, LABELS) and shares[-1] == 1.0
    for k in (0, 5):
        with pytest.raises(ValueError, match="k from 1 to 4"):
            top_k_accuracy(PROBS, LABELS, k)


def test_the_order_of_clips_changes_nothing():
    order = RNG.permutation(200)
    assert accuracy(PREDS[order], LABELS[order]) == accuracy(PREDS, LABELS)
    assert macro_f1(PREDS[order], LABELS[order]) == macro_f1(PREDS, LABELS)
    assert log_loss(PROBS[order], LABELS[order]) == pytest.approx(log_loss(PROBS, LABELS))
    assert top_k_accuracy(PROBS[order], LABELS[order], 2) == top_k_accuracy(PROBS, LABELS, 2)
    np.testing.assert_array_equal(confusion(PREDS[order], LABELS[order], 4), TABLE)


def test_other_names_of_the_classes_change_nothing():
    name = np.array([2, 0, 3, 1])  # of the class that was 0, 1, 2, 3
    renamed = np.empty_like(PROBS)
    renamed[:, name] = PROBS
    assert accuracy(name[PREDS], name[LABELS]) == accuracy(PREDS, LABELS)
    assert macro_f1(name[PREDS], name[LABELS]) == pytest.approx(macro_f1(PREDS, LABELS))
    assert log_loss(renamed, name[LABELS]) == log_loss(PROBS, LABELS)
    assert top_k_accuracy(renamed, name[LABELS], 2) == top_k_accuracy(PROBS, LABELS, 2)
    table = confusion(name[PREDS], name[LABELS], 4)
    np.testing.assert_array_equal(table[np.ix_(name, name)], TABLE)
    np.testing.assert_array_equal(recall_K(table)[name], recall_K(TABLE))
    np.testing.assert_array_equal(precision_K(table)[name], precision_K(TABLE))


def test_two_seeds_score_the_mean_of_both():
    other = RNG.dirichlet(np.ones(4), 200)
    both, labels = np.concatenate([PROBS, other]), np.tile(LABELS, 2)
    assert log_loss(both, labels) == pytest.approx((log_loss(PROBS, LABELS) + log_loss(other, LABELS)) / 2)
    single = (top_k_accuracy(PROBS, LABELS) + top_k_accuracy(other, LABELS)) / 2
    assert top_k_accuracy(both, labels) == pytest.approx(single)
    expected = TABLE + confusion(other.argmax(axis=1), LABELS, 4)
    np.testing.assert_array_equal(confusion(both.argmax(axis=1), labels, 4), expected)


def test_nothing_cannot_be_scored():
    with pytest.raises(ValueError, match="no clips"):
        accuracy(np.array([]), np.array([]))
    with pytest.raises(ValueError, match="3 predictions for 2 labels"):
        accuracy(np.zeros(3), np.zeros(2))
