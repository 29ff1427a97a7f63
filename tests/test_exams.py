"""What an exam says of out-of-fold predictions."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from escmodels.calibration import apply_temperature
from escmodels.evidence import bootstrap_interval
from escmodels.exams import Exam, OutOfFold, calibrated, comparable, compare, examine, tied
from escmodels.scores import top_k_accuracy

GOLDEN = json.loads(Path(__file__).with_name("golden").joinpath("exam.json").read_text(encoding="utf-8"))


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


def golden() -> OutOfFold:
    return OutOfFold(
        tuple(f"clip{number}" for number in range(len(GOLDEN["labels"]))),
        np.array(GOLDEN["folds"]),
        np.array(GOLDEN["labels"]),
        np.array(GOLDEN["sources"]),
        tuple(GOLDEN["classes"]),
        tuple(GOLDEN["seeds"]),
        np.array(GOLDEN["probabilities"]),
    )


def judge(table: OutOfFold) -> Exam:
    return examine(table, protocol="rotating", data="d", validation=0.5, trials=3)


def test_golden_values_of_an_exam():
    judged = judge(golden())
    for name, value in GOLDEN["exam"].items():
        assert getattr(judged, name) == pytest.approx(value, rel=1e-6), name
    assert top_k_accuracy(golden().prob_SNK.reshape(-1, 3), np.tile(golden().labels, 2), 2) == GOLDEN["top2"]
    weight = golden().weight_N
    assert (judged.low, judged.high) == bootstrap_interval(
        golden().correct_N, golden().sources, weight_N=weight
    )


def test_order_of_clips_and_names_of_classes_change_no_figure():
    table, before = golden(), judge(golden())
    order, name = np.random.default_rng(0).permutation(len(table)), np.array([2, 0, 1])
    renamed = np.empty_like(table.prob_SNK)
    renamed[:, :, name] = table.prob_SNK
    shuffled = OutOfFold(
        tuple(table.names[row] for row in order),
        table.folds[order],
        name[table.labels][order],
        table.sources[order],
        ("b", "c", "a"),
        table.seeds,
        renamed[:, order],
    )
    for field in dataclasses.fields(Exam):
        assert getattr(judge(shuffled), field.name) == pytest.approx(getattr(before, field.name)), field.name


def test_an_exam_of_an_older_version_loads_without_the_newer_figures():
    later = (
        "log_loss",
        "calibration_error",
        "top3",
        "temperature",
        "calibrated_log_loss",
        "calibrated_error",
    )
    stored = {k: v for k, v in json.loads(exam().to_json()).items() if k not in (*later, "seed_means")}
    older = Exam.from_json(json.dumps(stored))
    assert older.mean == exam().mean and all(getattr(older, name) is None for name in (*later, "seed_means"))


def test_a_fold_has_no_say_in_its_own_temperature():
    table, before = golden(), calibrated(golden())
    labels, prob_SNK = table.labels.copy(), table.prob_SNK.copy()
    here = table.folds == 2
    labels[here] = (labels[here] + 1) % 3  # a fold whose labels are all wrong
    prob_SNK[:, table.folds == 3] = np.roll(prob_SNK[:, table.folds == 3], 1, axis=2)
    after = calibrated(dataclasses.replace(table, labels=labels))
    np.testing.assert_array_equal(after[:, here], before[:, here])
    assert not np.allclose(after[:, ~here], before[:, ~here])
    other = calibrated(dataclasses.replace(table, prob_SNK=prob_SNK))
    assert not np.allclose(other[:, here], before[:, here])


def test_a_heated_model_has_the_same_figures_after_calibration():
    table = golden()
    hot = dataclasses.replace(table, prob_SNK=np.stack([apply_temperature(p, 2.0) for p in table.prob_SNK]))
    np.testing.assert_allclose(calibrated(hot), calibrated(table), rtol=1e-6)
    one, two = judge(table), judge(hot)
    assert two.temperature == pytest.approx(one.temperature / 2) and two.folds == one.folds
    assert two.calibrated_log_loss == pytest.approx(one.calibrated_log_loss) and two.log_loss != one.log_loss


def test_one_fold_has_a_temperature_and_nothing_to_measure_it_by():
    table = golden()
    one = dataclasses.replace(table, folds=np.ones(len(table), int))
    judged = judge(one)
    assert judged.temperature == pytest.approx(GOLDEN["exam"]["temperature"])
    assert judged.calibrated_log_loss is None and judged.calibrated_error is None
    with pytest.raises(ValueError, match="one fold"):
        calibrated(one)


def test_two_classes_have_a_top_two_instead_of_a_top_three():
    prob = np.array([[[0.9, 0.1], [0.2, 0.8]]])
    table = OutOfFold(
        ("x", "y"), np.array([1, 2]), np.array([0, 0]), np.array([0, 1]), ("a", "b"), (0,), prob
    )
    assert judge(table).top3 == 1.0


def right(*shares: float, start: int = 0, clips: int = 200) -> OutOfFold:
    """Four classes and folds, two clips a recording; each seed is right on so many clips of a fold, from `start` on."""
    labels = np.arange(clips) % 4
    probabilities = {}
    for number, share in enumerate(shares):
        place = np.arange(clips) // 4 - start
        hit = (place >= 0) & (place < share * clips / 4)
        probabilities[number] = np.eye(4)[np.where(hit, labels, (labels + 1) % 4)]
    return found(
        probabilities, labels, np.arange(clips) % 4 + 1, np.arange(clips) // 8 * 4 + np.arange(clips) % 4
    )


class TestTied:
    def test_nobody_is_behind_itself(self):
        best = right(0.8)
        assert tied(best, []) == 1 and tied(best, [best, best]) == 3
        same = compare(best, best)
        assert (same.lost, same.won, same.by_clip, same.by_source.p) == (0, 0, 1.0, 1.0) and not same.behind()

    def test_the_first_one_behind_ends_the_row(self):
        best, near, far = right(0.8), right(0.8, start=1), right(0.5)
        assert compare(best, far).behind() and not compare(best, near).behind()
        assert tied(best, [near, far, near]) == 2 and tied(best, [far, near]) == 1

    def test_who_is_better_is_not_behind(self):
        assert compare(right(0.5), right(0.8)).lost == 0 and tied(right(0.5), [right(0.8)]) == 2

    def test_a_stricter_level_ties_more(self):
        best, other = right(0.8), right(0.76)
        assert compare(best, other).by_clip == pytest.approx(2 / 2**8)
        assert tied(best, [other], level=0.05) == 1 and tied(best, [other], level=1e-5) == 2

    def test_clips_are_right_where_most_seeds_are(self):
        best, other = right(0.8, 0.8, 0.1), right(0.8, 0.1, 0.1)
        assert compare(best, other).lost == 140 and compare(best, right(0.8, 0.8, 0.8)).lost == 0

    def test_either_test_may_say_that_one_is_behind(self):
        best, other = right(0.8), right(0.76)
        two = [dataclasses.replace(table, sources=np.arange(200) // 100) for table in (best, other)]
        found = compare(*two)  # many clips of few recordings
        assert found.by_source.p > 0.2 > 0.05 > found.by_clip and found.behind()
        found = compare(best, right(0.78))  # few clips, all lost
        assert found.by_clip > 0.1 > 0.05 > found.by_source.p and found.behind()

    def test_the_difference_is_that_of_the_means_where_folds_are_unequal(self):
        table = golden()
        other = dataclasses.replace(table, prob_SNK=np.roll(table.prob_SNK, 1, axis=2))
        assert compare(table, other).by_source.mean == pytest.approx(judge(table).mean - judge(other).mean)

    def test_other_clips_cannot_be_paired(self):
        best, other = right(0.8), right(0.8)
        for changed in (
            dataclasses.replace(other, names=other.names[::-1]),
            dataclasses.replace(other, labels=(other.labels + 1) % 4),
        ):
            with pytest.raises(ValueError, match="cannot be paired"):
                compare(best, changed)
