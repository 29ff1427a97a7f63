"""How good predictions are: accuracy, macro F1, confusion, log loss.

Shape letters: N clips, K classes.
"""

import numpy as np


def same_clips(first_N: np.ndarray, second_N: np.ndarray) -> None:
    """Raise ValueError unless both are about equally many clips, and about any."""
    if len(first_N) != len(second_N):
        raise ValueError(f"{len(first_N)} predictions for {len(second_N)} labels")
    if len(first_N) == 0:
        raise ValueError("there is nothing to score: no clips")


def accuracy(pred_N: np.ndarray, label_N: np.ndarray) -> float:
    """Share of right predictions."""
    same_clips(pred_N, label_N)
    return float(np.mean(pred_N == label_N))


def confusion(pred_N: np.ndarray, label_N: np.ndarray, classes: int) -> np.ndarray:
    """Number of clips of class i (row) that were taken for class j (column), int64 [K, K]."""
    same_clips(pred_N, label_N)
    cell_N = np.asarray(label_N, dtype=np.int64) * classes + pred_N
    return np.bincount(cell_N, minlength=classes * classes).reshape(classes, classes)


def macro_f1(pred_N: np.ndarray, label_N: np.ndarray) -> float:
    """Unweighted mean of 2 TP / (2 TP + FP + FN) over the classes that occur in labels or predictions."""
    same_clips(pred_N, label_N)
    table_KK = confusion(pred_N, label_N, int(max(pred_N.max(), label_N.max())) + 1)
    seen_K = table_KK.sum(0) + table_KK.sum(1)  # 2 TP + FP + FN
    return float(np.mean(2 * table_KK.diagonal()[seen_K > 0] / seen_K[seen_K > 0]))


def log_loss(prob_NK: np.ndarray, label_N: np.ndarray) -> float:
    """Mean of -log p(label) in nats; p is kept above the machine epsilon of its type."""
    same_clips(prob_NK, label_N)
    right_N = prob_NK[np.arange(len(label_N)), label_N]
    return float(-np.log(np.maximum(right_N, np.finfo(prob_NK.dtype).eps), dtype=np.float64).mean())
