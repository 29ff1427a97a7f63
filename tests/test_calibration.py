"""Laws of temperatures and of the calibration error."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from escmodels.calibration import apply_temperature, calibration_error, fit_temperature
from escmodels.scores import log_loss

RNG = np.random.default_rng(0)
PROBS = RNG.dirichlet(np.full(5, 0.5), 300)
LABELS = np.array([RNG.choice(5, p=row) for row in PROBS])  # as often right as the probabilities say
GOLDEN = json.loads(
    Path(__file__).with_name("golden").joinpath("calibration.json").read_text(encoding="utf-8")
)


@pytest.mark.parametrize("case", GOLDEN["temperature"], ids=lambda case: case["case"])
def test_golden_temperatures(case):
    prob = np.tile(case["row"], (case["clips"], 1))
    labels = np.where(np.arange(case["clips"]) < case["right"], 0, 1)
    assert fit_temperature(prob, labels) == pytest.approx(case["temperature"], rel=1e-9)
    sure = apply_temperature(prob, case["temperature"])[0, 0]
    assert sure == pytest.approx(case["right"] / case["clips"])


@pytest.mark.parametrize("case", GOLDEN["error"], ids=lambda case: case["case"])
def test_golden_calibration_errors(case):
    sure = np.array(case["sure"])
    labels = 1 - np.array(case["right"])
    prob = np.stack([sure, 1 - sure], axis=1)
    assert calibration_error(prob, labels, case["bins"]) == pytest.approx(case["error"])


def test_a_temperature_of_one_is_the_identity_bit_for_bit():
    prob = PROBS.astype(np.float32)
    assert apply_temperature(prob, 1.0).tobytes() == prob.tobytes()


@pytest.mark.parametrize("temperature", [0.05, 0.7, 3.0])
def test_a_temperature_changes_no_class_and_keeps_rows_and_type(temperature):
    prob = PROBS.astype(np.float32)
    after = apply_temperature(prob, temperature)
    assert after.dtype == np.float32
    np.testing.assert_array_equal(after.argmax(axis=1), prob.argmax(axis=1))
    np.testing.assert_allclose(after.sum(axis=1), 1, rtol=1e-6)
    hotter = after.max(axis=1) <= prob.max(axis=1)
    assert hotter.all() if temperature > 1 else not hotter.any()


def test_temperatures_multiply():
    twice = apply_temperature(apply_temperature(PROBS, 2.0), 1.5)
    np.testing.assert_allclose(twice, apply_temperature(PROBS, 3.0), rtol=1e-9)
    np.testing.assert_allclose(apply_temperature(apply_temperature(PROBS, 2.0), 0.5), PROBS, rtol=1e-9)


def test_a_probability_of_zero_stays_a_number():
    sure = np.array([[1.0, 0.0], [0.0, 1.0]], dtype=np.float32)
    after = apply_temperature(sure, 20.0)
    assert np.isfinite(after).all() and 0 < after.min() < after.max() < 1
    assert np.isfinite(fit_temperature(sure, np.array([0, 0])))


def test_what_was_heated_is_found_to_be_hot():
    assert fit_temperature(PROBS, LABELS) == pytest.approx(1, abs=0.15)
    own = fit_temperature(PROBS, LABELS)
    for temperature in (0.5, 2.0):
        heated = apply_temperature(PROBS, temperature)
        assert fit_temperature(heated, LABELS) == pytest.approx(own / temperature, rel=1e-6)


def test_no_other_temperature_has_a_lower_loss():
    sharp = apply_temperature(PROBS, 0.4)
    best = minimize_scalar(
        lambda cold: log_loss(apply_temperature(sharp, 1 / cold), LABELS), bounds=(0.05, 20), method="bounded"
    )
    found = fit_temperature(sharp, LABELS)
    assert found == pytest.approx(1 / best.x, rel=1e-4)
    assert log_loss(apply_temperature(sharp, found), LABELS) < log_loss(sharp, LABELS)


def test_clips_that_are_all_right_or_rows_that_are_flat_say_nothing():
    assert fit_temperature(PROBS, PROBS.argmax(axis=1)) == 1.0
    assert fit_temperature(np.full((20, 5), 0.2), np.arange(20) % 5) == 1.0


def test_worse_than_chance_ends_at_the_hottest():
    assert fit_temperature(PROBS, PROBS.argmin(axis=1)) == pytest.approx(20)


def test_order_of_clips_and_names_of_classes_change_nothing():
    order, name = RNG.permutation(300), np.array([3, 0, 4, 1, 2])
    renamed = np.empty_like(PROBS)
    renamed[:, name] = PROBS
    for prob, labels in ((PROBS[order], LABELS[order]), (renamed, name[LABELS])):
        assert fit_temperature(prob, labels) == pytest.approx(fit_temperature(PROBS, LABELS))
        assert calibration_error(prob, labels) == pytest.approx(calibration_error(PROBS, LABELS))


def test_the_error_is_small_for_honest_probabilities_and_large_for_boasts():
    boast = apply_temperature(PROBS, 0.01)
    right = (PROBS.argmax(axis=1) == LABELS).mean()
    assert calibration_error(PROBS, LABELS) < 0.1
    assert calibration_error(boast, LABELS) == pytest.approx(1 - right, abs=0.02)
    gap = PROBS.max(axis=1).mean() - right
    assert calibration_error(PROBS, LABELS, bins=1) == pytest.approx(abs(gap))


def test_nonsense_is_refused():
    for temperature in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="temperature"):
            apply_temperature(PROBS, temperature)
    with pytest.raises(ValueError, match="at least one bin"):
        calibration_error(PROBS, LABELS, bins=0)
    with pytest.raises(ValueError, match="no clips"):
        fit_temperature(np.zeros((0, 3)), np.zeros(0, int))
