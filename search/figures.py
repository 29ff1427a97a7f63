"""Pictures that stand beside runs: a confusion matrix, learning curves by split."""

import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure


def confusion_png(counts: Sequence[Sequence[int]], classes: Sequence[str], title: str) -> bytes:
    """A confusion matrix as PNG. counts[true][predicted]; every cell with clips in it carries its number."""
    matrix = np.asarray(counts, dtype=float)
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    side = min(24.0, 3 + 0.45 * len(classes))
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(classes)), classes, rotation=90)
    axes.set_yticks(range(len(classes)), classes)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(
        f"{title}: {np.trace(matrix) / max(matrix.sum(), 1):.1%} of {matrix.sum():.0f} clips right"
    )
    for row, column in zip(*np.nonzero(matrix), strict=True):
        colour = "white" if share[row, column] > 0.6 else "black"
        text = f"{matrix[row, column]:g}"
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=8)
    return _png(figure)


def curves_png(curves: Mapping[int, Sequence[float]], title: str) -> bytes:
    """Validation accuracy by epoch, one line a split, as PNG."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    for split, values in curves.items():
        axes.plot(range(1, len(values) + 1), values, label=f"split {split}")
    axes.set_xlabel("epoch")
    axes.set_ylabel("validation accuracy")
    axes.set_ylim(0, 1)
    axes.grid(alpha=0.3)
    axes.set_title(title)
    axes.legend(loc="lower right")
    return _png(figure)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
