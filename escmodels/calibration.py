"""How far a probability can be trusted: the calibration error, and the temperature that lowers it.

Guo et al. 2017, "On Calibration of Modern Neural Networks". A temperature changes how sure a model is and never
which class it names. Shape letters: N clips, K classes.
"""

import numpy as np

from .scores import same_clips

COLDEST, HOTTEST = 0.05, 20.0  # no net that is of any use needs more
HALVINGS = 60  # of the bracket: far below the resolution of float64


def apply_temperature(prob_NK: np.ndarray, temperature: float) -> np.ndarray:
    """softmax(log p / T) of each row, in the type of `prob_NK`; T = 1 gives the same array, bit for bit.

    T > 1 flattens a row, T < 1 sharpens it. p is kept above the smallest normal number of its type, so that a
    probability of 0 has a logarithm. Raises ValueError unless the temperature is a finite number above 0.
    """
    if not (np.isfinite(temperature) and temperature > 0):
        raise ValueError(f"a temperature is a number above 0, got {temperature}")
    if temperature == 1:
        return prob_NK
    return _softmax(_logs(prob_NK) / temperature).astype(prob_NK.dtype)


def fit_temperature(prob_NK: np.ndarray, label_N: np.ndarray) -> float:
    """The T for which `apply_temperature` gives labels of clips unknown to the model the least log loss.

    The loss is convex in 1/T, so that its slope, mean(E[log p] - log p(label)), has one root; it is bracketed in
    [0.05, 20]. Where every clip is right, or every row is flat, no T is the best one: the more extreme the better,
    or all alike. Such clips say nothing about how often the model errs, and the answer is 1.
    """
    same_clips(prob_NK, label_N)
    log_NK = _logs(prob_NK)
    right_N = log_NK[np.arange(len(label_N)), label_N]
    if (right_N == log_NK.max(axis=1)).all():
        return 1.0

    def slope(cold: float) -> float:
        return float(((_softmax(log_NK * cold) * log_NK).sum(axis=1) - right_N).mean())

    low, high = np.log(1 / HOTTEST), np.log(1 / COLDEST)  # of 1/T
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(float(np.exp(middle))) < 0 else (low, middle)
    return float(np.exp(-(low + high) / 2))


def calibration_error(prob_NK: np.ndarray, label_N: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error: mean over clips of |share of right clips - mean confidence| of their bin.

    A clip's confidence is its largest probability; bin m of M holds those in ((m-1)/M, m/M]. 0 is perfect, and so
    is a model that is sure and right. Few clips a bin make the figure too high: compare it only between equal
    numbers of clips. Raises ValueError for less than one bin.
    """
    same_clips(prob_NK, label_N)
    if bins < 1:
        raise ValueError(f"expected at least one bin, got {bins}")
    sure_N = prob_NK.max(axis=1).astype(np.float64)
    right_N = prob_NK.argmax(axis=1) == label_N
    bin_N = np.clip(np.ceil(sure_N * bins).astype(np.int64) - 1, 0, bins - 1)
    return float(np.abs(np.bincount(bin_N, right_N - sure_N)).sum() / len(label_N))


def _logs(prob_NK: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(prob_NK, np.finfo(prob_NK.dtype).tiny), dtype=np.float64)


def _softmax(log_NK: np.ndarray) -> np.ndarray:
    power_NK = np.exp(log_NK - log_NK.max(axis=1, keepdims=True))
    return power_NK / power_NK.sum(axis=1, keepdims=True)
