"""How good predictions are: accuracy, top k, macro F1, recall and precision by class, confusion, log loss.

Several seeds are one longer list of clips: predictions [S, N] as [S * N], the labels as often.
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


def top_k_accuracy(prob_NK: np.ndarray, label_N: np.ndarray, k: int = 3) -> float:
    """Share of clips whose class is among the k most probable; k = 1 is the accuracy.

    Of equal probabilities the class that comes first wins, as in `argmax`. Raises ValueError unless 1 <= k <= K.
    """
    same_clips(prob_NK, label_N)
    if not 1 <= k <= prob_NK.shape[1]:
        raise ValueError(f"expected k from 1 to {prob_NK.shape[1]}, the number of classes, got {k}")
    right_N1 = prob_NK[np.arange(len(label_N)), label_N][:, None]
    earlier_NK = np.arange(prob_NK.shape[1]) < np.asarray(label_N)[:, None]
    ahead_N = ((prob_NK > right_N1) | ((prob_NK == right_N1) & earlier_NK)).sum(axis=1)
    return float(np.mean(ahead_N < k))


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


def recall_K(table_KK: np.ndarray) -> np.ndarray:
    """Share of each class's clips that were found, float64 [K], from a `confusion`; nan for a class without clips."""
    return _share_K(table_KK.diagonal(), table_KK.sum(axis=1))


def precision_K(table_KK: np.ndarray) -> np.ndarray:
    """Share of right ones among the clips taken for each class, float64 [K]; nan for a class never predicted."""
    return _share_K(table_KK.diagonal(), table_KK.sum(axis=0))


def log_loss(prob_NK: np.ndarray, label_N: np.ndarray) -> float:
    """Mean of -log p(label) in nats; p is kept above the machine epsilon of its type."""
    same_clips(prob_NK, label_N)
    right_N = prob_NK[np.arange(len(label_N)), label_N]
    return float(-np.log(np.maximum(right_N, np.finfo(prob_NK.dtype).eps), dtype=np.float64).mean())


def _share_K(part_K: np.ndarray, whole_K: np.ndarray) -> np.ndarray:
    share_K = np.full(len(whole_K), np.nan)
    return np.divide(part_K, whole_K, out=share_K, where=whole_K > 0)
