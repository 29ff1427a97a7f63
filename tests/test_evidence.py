"""Laws of intervals and paired tests."""

import math

import numpy as np
import pytest

from escmodels.evidence import bootstrap_interval


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
