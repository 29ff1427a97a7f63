"""How sure a score is: intervals, and paired tests of two systems on the same clips.

Shape letters: N clips, R recordings (sources), D bootstrap draws.
"""

import math

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
    weight = np.ones(len(correct_N)) if weight_N is None else np.asarray(weight_N, dtype=np.float64)
    _, source = np.unique(source_N, return_inverse=True)
    hit_R = np.bincount(source, weight * correct_N)
    all_R = np.bincount(source, weight)
    rng, R, means = np.random.default_rng(seed), len(hit_R), []
    step = max(1, 4_000_000 // R)  # a few million numbers at once
    for at in range(0, draws, step):
        times_DR = rng.multinomial(R, np.full(R, 1 / R), size=min(step, draws - at))
        means.append((times_DR @ hit_R) / (times_DR @ all_R))
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
