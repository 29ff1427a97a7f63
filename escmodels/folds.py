"""Which clips train, validate and test: the protocols and the laws against leakage."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from .clips import ClipSet


class LeakageError(ValueError):
    """A clip, or clips of one recording, stand in two parts of a split."""


@dataclass(frozen=True)
class SearchSplit:
    """What a search may see of a split: no test rows."""

    number: int
    train: tuple[int, ...]  # row numbers
    valid: tuple[int, ...]


@dataclass(frozen=True)
class Split:
    """One way to divide the folds. Rows are numbers of clips in the data set."""

    number: int  # 1..
    train_folds: tuple[int, ...]
    valid_fold: int
    test_fold: int
    train: tuple[int, ...]
    valid: tuple[int, ...]
    test: tuple[int, ...]

    def for_search(self) -> SearchSplit:
        """The split without its test rows: what is handed to trials."""
        return SearchSplit(self.number, self.train, self.valid)


def rotating(folds: Sequence[int]) -> tuple[Split, ...]:
    """Split k tests fold k, validates on the next fold (the first after the last), trains on the rest.

    folds: the fold of every clip, 1..; K folds give K splits. Raises ValueError for fewer than three folds.

    >>> [(s.train_folds, s.valid_fold, s.test_fold) for s in rotating([1, 2, 3])]
    [((3,), 2, 1), ((1,), 3, 2), ((2,), 1, 3)]
    """
    numbers = sorted({int(fold) for fold in folds})
    if len(numbers) < 3:
        raise ValueError(f"the rotating protocol needs at least 3 folds, the data have {numbers}")
    if numbers[0] < 1:
        raise ValueError(f"folds are numbered from 1, found {numbers[0]}")
    rows: dict[int, list[int]] = {number: [] for number in numbers}
    for row, fold in enumerate(folds):
        rows[int(fold)].append(row)
    splits = []
    for at, test in enumerate(numbers):
        valid = numbers[(at + 1) % len(numbers)]
        train = tuple(number for number in numbers if number not in (valid, test))
        train_rows = tuple(sorted(row for number in train for row in rows[number]))
        splits.append(Split(at + 1, train, valid, test, train_rows, tuple(rows[valid]), tuple(rows[test])))
    return tuple(splits)


PROTOCOLS: dict[str, Callable[[Sequence[int]], tuple[Split, ...]]] = {"rotating": rotating}


def check(split: Split, clips: ClipSet, allowed_sources: frozenset[int] = frozenset()) -> None:
    """Refuse a split that lets one part know another.

    The laws: no clip and no source (but the allowed ones) in two parts; the test fold in no other part; every
    row in a fold of its part. Raises LeakageError naming the rows, folds or sources.
    """
    where = f"split {split.number}"
    parts = {
        "train": (np.array(split.train, dtype=np.int64), set(split.train_folds)),
        "valid": (np.array(split.valid, dtype=np.int64), {split.valid_fold}),
        "test": (np.array(split.test, dtype=np.int64), {split.test_fold}),
    }
    for name, (rows, allowed) in parts.items():
        if len(rows) and not 0 <= rows.min() <= rows.max() < len(clips):
            raise ValueError(
                f"{where}: {name} rows {rows.min()}..{rows.max()}, the data have {len(clips)} clips"
            )
        strange = rows[~np.isin(clips.folds[rows], list(allowed))]
        if len(strange):
            found = f"row {strange[0]} ({clips.names[strange[0]]}) of fold {clips.folds[strange[0]]}"
            raise LeakageError(f"{where}: {found} is in {name}, which has folds {sorted(allowed)}")
    for (one, (rows, folds)), (two, (others, other_folds)) in combinations(parts.items(), 2):
        if shared := sorted(folds & other_folds):
            raise LeakageError(f"{where}: fold {shared[0]} is in {one} and in {two}")
        if len(both := np.intersect1d(rows, others)):
            raise LeakageError(f"{where}: row {both[0]} ({clips.names[both[0]]}) is in {one} and in {two}")
        common = set(clips.sources[rows].tolist()) & set(clips.sources[others].tolist()) - allowed_sources
        if common:
            source = min(common)
            names = [clips.names[part[clips.sources[part] == source][0]] for part in (rows, others)]
            more = f" and {len(common) - 1} more" if len(common) > 1 else ""
            raise LeakageError(
                f"{where}: source {source}{more} is in {one} ({names[0]}) and in {two} ({names[1]})"
            )
