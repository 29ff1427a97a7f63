"""Laws of intervals and paired tests."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest

from escmodels.evidence import bootstrap_interval, mcnemar, paired_bootstrap

GOLDEN = json.loads(Path(__file__).with_name("golden").joinpath("evidence.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", GOLDEN["mcnemar"], ids=lambda case: case["source"])
def test_golden_values_of_mcnemar(case):
    assert mcnemar(case["lost"], case["won"]) == pytest.approx(case["p"], rel=1e-12)


@pytest.mark.parametrize("case", GOLDEN["paired"], ids=lambda case: case["case"])
def test_golden_values_of_the_paired_bootstrap(case):
    found = paired_bootstrap(*(np.array(case[part]) for part in ("first", "second", "source_of")))
    assert found.mean == pytest.approx(case["mean"])
    assert (found.low, found.high) == pytest.approx((case["low"], case["high"]))
    assert found.p == pytest.approx(case["p"], abs=0.03)  # 2,000 draws


def test_mcnemar_agrees_with_scipy_and_has_no_favourite():
    for lost in range(0, 40, 3):
        for won in range(1, 40, 5):
            assert mcnemar(lost, won) == pytest.approx(binomtest(won, lost + won).pvalue)
            assert mcnemar(lost, won) == mcnemar(won, lost)
    with pytest.raises(ValueError, match="negative"):
        mcnemar(-1, 2)


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
    right, source = np.random.default_rng(0).random(200), np.arange(200) // 2
    assert bootstrap_interval(right, source, seed=1) == bootstrap_interval(right, source, seed=1)
    assert bootstrap_interval(right, source, seed=1) != bootstrap_interval(right, source, seed=2)
    low, high = bootstrap_interval(right, source, level=0.5)
    wide = bootstrap_interval(right, source)
    assert wide[0] < low < high < wide[1]


def test_all_right_is_sure_and_the_order_of_clips_changes_nothing():
    assert bootstrap_interval(np.ones(200), np.arange(200)) == (1.0, 1.0)
    rng = np.random.default_rng(0)
    order, source, right = rng.permutation(200), np.arange(200) // 4, rng.random(200) < 0.3
    assert bootstrap_interval(right[order], source[order]) == pytest.approx(bootstrap_interval(right, source))


RNG = np.random.default_rng(0)
SOURCE = np.arange(400) // 4
HARD = np.repeat(RNG.random(100) < 0.3, 4)  # recordings that nobody gets
SECOND = ~HARD & (RNG.random(400) < 0.9)
FIRST = ~HARD & (SECOND | (RNG.random(400) < 0.5))  # right wherever the second is, and on half of the rest


def test_a_system_is_no_better_than_itself():
    same = paired_bootstrap(SECOND, SECOND, SOURCE)
    assert (same.mean, same.low, same.high, same.p) == (0.0, 0.0, 0.0, 1.0)


def test_a_clip_won_and_a_clip_lost_by_the_same_share_are_no_gain():
    first, second = np.array([1, 1 / 3]), np.array([2 / 3, 2 / 3])
    assert (first - second).sum() > 0  # some 1e-17 of rounding
    assert paired_bootstrap(first, second, np.zeros(2)).p == 1.0


def test_better_wherever_they_differ_is_seen_though_both_intervals_overlap():
    found = paired_bootstrap(FIRST, SECOND, SOURCE)
    assert (
        found.mean == pytest.approx(FIRST.mean() - SECOND.mean()) and 0 < found.low < found.mean < found.high
    )
    assert found.p == 0.0
    assert bootstrap_interval(SECOND, SOURCE)[1] > bootstrap_interval(FIRST, SOURCE)[0]


def test_turned_round_it_says_the_opposite():
    one, two = paired_bootstrap(FIRST, SECOND, SOURCE), paired_bootstrap(SECOND, FIRST, SOURCE)
    assert (one.mean, one.low, one.high) == pytest.approx((-two.mean, -two.high, -two.low))
    assert two.p == 1.0


def test_the_interval_is_that_of_the_difference():
    found = paired_bootstrap(FIRST, SECOND, SOURCE, seed=3)
    difference = FIRST.astype(float) - SECOND
    assert (found.low, found.high) == pytest.approx(bootstrap_interval(difference, SOURCE, seed=3))


def test_clips_of_one_recording_are_no_more_evidence_than_the_recording():
    won = np.repeat([1, 1, 1, 0, 0, 0, 0, 0], 20)  # the first wins three recordings, the second one
    lost = np.repeat([0, 0, 0, 0, 0, 0, 0, 1], 20)
    by_clip = paired_bootstrap(won, lost, np.arange(160))
    by_source = paired_bootstrap(won, lost, np.arange(160) // 20)
    assert by_clip.p < 0.001 and 0.05 < by_source.p < 0.3
    assert by_source.high - by_source.low > 3 * (by_clip.high - by_clip.low)


def test_weights_are_shares_of_the_mean():
    first, second = np.array([1, 1, 0, 0]), np.array([0, 0, 0, 1])
    weight = np.array([1.0, 1.0, 1.0, 5.0])
    assert paired_bootstrap(first, second, np.arange(4), weight).mean == pytest.approx((2 - 5) / 8)
    twice = paired_bootstrap(FIRST, SECOND, SOURCE, np.full(400, 2.0))
    assert twice == paired_bootstrap(FIRST, SECOND, SOURCE)


def test_unequal_numbers_of_clips_cannot_be_paired():
    with pytest.raises(ValueError, match="3 predictions for 2"):
        paired_bootstrap(np.ones(3), np.ones(2), np.arange(3))
    with pytest.raises(ValueError, match="2 predictions for 3"):
        paired_bootstrap(np.ones(2), np.ones(2), np.arange(3))
