"""How sure a score is: intervals, and paired tests of two systems on the same clips.

Shape letters: N clips, R recordings (sources), D bootstrap draws.
"""

import math
from dataclasses import dataclass

import numpy as np

from .scores import same_clips


def mcnemar(lost: int, won: int) -> float:
    """Two-sided p of McNemar's exact test for two systems on the same clips.

    lost, won: clips that only the one and only the other gets right. Where they are equally good, each such clip
    falls to either side with probability 1/2, so that the smaller number is binomial (McNemar 1947; exact form as
    in Dietterich 1998). Raises ValueError for numbers below 0.
    """
    if lost < 0 or won < 0:
        raise ValueError(f"numbers of clips must not be negative, got {lost} and {won}")
    clips = lost + won
    tail = sum(math.comb(clips, least) for least in range(min(lost, won) + 1))
    return min(1.0, 2 * tail / 2**clips)


@dataclass(frozen=True)
class Difference:
    """By how much one system is better than another on the same clips."""

    mean: float
    low: float  # 95 % interval of `mean`
    high: float
    p: float  # one-sided: share of draws in which the first is not better


def bootstrap_interval(
    correct_N: np.ndarray,
    source_N: np.ndarray,
    draws: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    weight_N: np.ndarray | None = None,
) -> tuple[float, float]:
    """Percentile interval of the mean of `correct_N` when whole recordings are drawn again.

    Clips cut from one recording are right or wrong together, so that resampling clips would give too narrow
    an interval. weight_N: share of each clip in the mean (default equal). All right gives (1, 1): the
    bootstrap cannot know what it has not seen.
    """
    same_clips(correct_N, source_N)
    mean_D = _means_D(correct_N, source_N, weight_N, draws, seed)
    low, high = np.quantile(mean_D, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def paired_bootstrap(
    first_N: np.ndarray,
    second_N: np.ndarray,
    source_N: np.ndarray,
    weight_N: np.ndarray | None = None,
    draws: int = 2000,
    seed: int = 0,
) -> Difference:
    """How much better `first_N` is than `second_N`: scores of the same clips in the same order, in [0, 1].

    Whole recordings are drawn again, both systems with the same ones, so that what is hard for both cancels.
    `p` is the share of draws in which the first is not better (1 if the two never differ). A handful of recordings
    convinces it too early: where k differ and all speak for the first, p is about e^-k, an exact test says 2^-k.
    weight_N: share of each clip in the mean (default equal). Raises ValueError if numbers of clips differ or are 0.
    """
    same_clips(first_N, second_N)
    same_clips(first_N, source_N)
    better_N = np.asarray(first_N, dtype=np.float64) - np.asarray(second_N, dtype=np.float64)
    mean_D = _means_D(better_N, source_N, weight_N, draws, seed)
    low, high = np.quantile(mean_D, [0.025, 0.975])
    mean = np.average(better_N, weights=weight_N)
    # sums of shares that cancel leave some 1e-17: that is no gain
    return Difference(float(mean), float(low), float(high), float(np.mean(mean_D <= 1e-12)))


def _means_D(
    score_N: np.ndarray, source_N: np.ndarray, weight_N: np.ndarray | None, draws: int, seed: int
) -> np.ndarray:
    """The mean score in each draw of whole recordings, float64 [D]."""
    weight = np.ones(len(score_N)) if weight_N is None else np.asarray(weight_N, dtype=np.float64)
    _, source = np.unique(source_N, return_inverse=True)
    score_R = np.bincount(source, weight * score_N)
    all_R = np.bincount(source, weight)
    rng, R, means = np.random.default_rng(seed), len(all_R), []
    step = max(1, 4_000_000 // R)  # a few million numbers at once
    for at in range(0, draws, step):
        times_DR = rng.multinomial(R, np.full(R, 1 / R), size=min(step, draws - at))
        means.append((times_DR @ score_R) / (times_DR @ all_R))
    return np.concatenate(means)
