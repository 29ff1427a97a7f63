"""What an exam says of out-of-fold predictions."""

import dataclasses

import numpy as np
import pytest

from escmodels.exams import Exam, OutOfFold, comparable, examine


def found(probabilities, labels, folds, sources) -> OutOfFold:
    """Predictions of four classes by seed."""
    return OutOfFold(
        tuple(f"clip{number}" for number in range(len(labels))),
        np.asarray(folds),
        np.asarray(labels),
        np.asarray(sources),
        ("a", "b", "c", "d"),
        tuple(probabilities),
        np.array(list(probabilities.values())),
    )


def exam(**changes) -> Exam:
    labels, folds = np.arange(40) % 4, np.repeat([1, 2, 3, 4], 10)
    first = np.eye(4)[labels]
    second = first.copy()
    second[:5] = np.roll(second[:5], 1, axis=1)  # seed 1 misses half of fold 1
    judged = examine(
        found({0: first, 1: second}, labels, folds, np.arange(40) // 2),
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
        found({0: wrong_in_two}, labels, folds, np.arange(110)),
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
    table = ([0, 1], [1, 2], [0, 1])
    with pytest.raises(ValueError, match="1 clips without a prediction, first 'clip1'"):
        found({0: np.array([[1, 0, 0, 0], [np.nan] * 4])}, *table)
    with pytest.raises(ValueError, match="at least one seed"):
        found({}, *table)
    with pytest.raises(ValueError, match="shape"):
        found({0: np.ones((2, 3))}, *table)
