"""The table of out-of-fold predictions: what a recipe said about each clip that it never saw, as CSV.

    clip, fold, label, source, seed, predicted, then a column a class with its probability

One line a clip and seed. Probabilities have 9 significant digits, with which a float32 comes back bit for bit.
Shape letters: S seeds, N clips, K classes.
"""

import csv
import io
from pathlib import Path

import numpy as np

from escmodels.exams import OutOfFold

from .errors import Failure
from .files import write_atomically

COLUMNS = ("clip", "fold", "label", "source", "seed", "predicted")
ODD = "surrogateescape"  # a file's name need not be UTF-8


def place(study: Path, trial: int) -> Path:
    """Where the table of an examined trial lies in the folder of its study."""
    return study / "exam" / f"t{trial:03d}.csv"


def write(path: Path, found: OutOfFold) -> None:
    """Write or replace a table, whole or not at all. The folder is made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, document(found))


def document(found: OutOfFold) -> bytes:
    """The table as the bytes of its file."""
    text = io.StringIO(newline="")
    table = csv.writer(text)
    table.writerow([*COLUMNS, *found.classes])
    said_SN = found.prob_SNK.argmax(axis=2)
    for seed, prob_NK, said_N in zip(found.seeds, found.prob_SNK, said_SN, strict=True):
        known = zip(found.names, found.folds, found.labels, found.sources, said_N, prob_NK, strict=True)
        for name, fold, label, source, said, prob_K in known:
            facts = [name, int(fold), found.classes[label], int(source), seed, found.classes[said]]
            table.writerow([*facts, *(f"{prob:.9g}" for prob in prob_K.tolist())])
    return text.getvalue().encode(errors=ODD)


def read(path: Path) -> OutOfFold:
    """The table that `write` made. Raises `Failure` with one sentence for a file that is missing or damaged."""
    try:
        with open(path, encoding="utf-8", errors=ODD, newline="") as file:
            rows = list(csv.reader(file))
    except (OSError, csv.Error) as error:
        reason = "there is no such file" if isinstance(error, FileNotFoundError) else str(error)
        raise Failure(f"the table of predictions {path} cannot be read: {reason}") from error
    try:
        return _parsed(rows)
    except ValueError as error:
        raise Failure(
            f"the table of predictions {path} is damaged: {error}; hold the exam of its study again"
        ) from error


def _parsed(rows: list[list[str]]) -> OutOfFold:
    """Raises ValueError with what is wrong, and on which line."""
    head = len(COLUMNS)
    if not rows or tuple(rows[0][:head]) != COLUMNS or len(rows[0]) == head:
        raise ValueError(f"its first line must be {','.join(COLUMNS)} and the classes")
    classes = tuple(rows[0][head:])
    index = {name: number for number, name in enumerate(classes)}
    facts: dict[int, list[tuple[str, int, int, int]]] = {}  # seed -> what is known of each clip
    prob_SNK: dict[int, list[np.ndarray]] = {}
    for line, row in enumerate(rows[1:], start=2):
        try:
            if len(row) != len(rows[0]):
                raise ValueError(f"{len(row)} columns, the first line has {len(rows[0])}")
            name, fold, label, source, seed, said = row[:head]
            if unknown := {label, said} - index.keys():
                raise ValueError(f"{min(unknown)!r} is none of its classes")
            prob_K = np.array([float(cell) for cell in row[head:]], dtype=np.float32)
            if not np.isfinite(prob_K).all():
                raise ValueError("a probability is no number")
            if classes[prob_K.argmax()] != said:
                raise ValueError(f"predicted {said!r}, its probabilities say {classes[prob_K.argmax()]!r}")
            facts.setdefault(int(seed), []).append((name, int(fold), index[label], int(source)))
        except ValueError as error:
            raise ValueError(f"line {line}: {error}") from error
        prob_SNK.setdefault(int(seed), []).append(prob_K)
    clips = next(iter(facts.values()), [])
    if not clips:
        raise ValueError("it holds no clip")
    for number, others in facts.items():
        if others != clips:
            raise ValueError(f"seed {number} does not have the clips of the first seed in their order")
    names, folds, labels, sources = zip(*clips, strict=True)
    return OutOfFold(
        names,
        np.array(folds, dtype=np.int64),
        np.array(labels, dtype=np.int64),
        np.array(sources, dtype=np.int64),
        classes,
        tuple(facts),
        np.stack([np.stack(prob_NK) for prob_NK in prob_SNK.values()]),
    )
