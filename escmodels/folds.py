"""Which clips train, validate and test: the protocols and the laws against leakage.

rotating      every fold is tested once and validates once: the folds of the exam take part in the search
held-out K    fold K is tested once and takes no part in the search, in which the others validate in turn
nested        a held-out study for each fold: strict, and it judges the procedure instead of one recipe
"""

import re
from collections.abc import Iterable, Mapping, Sequence
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
    valid_fold: int | None  # None: nothing is validated, this split is for an exam alone
    test_fold: int | None  # None: nothing is tested, this split is for a search alone
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
    rows = _rows(folds, "rotating")
    numbers = list(rows)
    splits = []
    for at, test in enumerate(numbers):
        valid = numbers[(at + 1) % len(numbers)]
        train = tuple(number for number in numbers if number not in (valid, test))
        splits.append(Split(at + 1, train, valid, test, _together(rows, train), rows[valid], rows[test]))
    return tuple(splits)


def inner(folds: Sequence[int]) -> tuple[Split, ...]:
    """The search of a study that holds a fold out: each other fold validates once, the rest trains, nothing is tested.

    folds: the fold of every clip that may be seen; the one that is held out does not occur. A split has the number
    of its validation fold. Raises ValueError for fewer than two folds.

    >>> [(s.number, s.train_folds, s.valid_fold, s.test_fold) for s in inner([1, 3, 4])]
    [(1, (3, 4), 1, None), (3, (1, 4), 3, None), (4, (1, 3), 4, None)]
    """
    rows = _rows(folds, "inner", least=2)
    splits = []
    for valid in rows:
        train = tuple(number for number in rows if number != valid)
        splits.append(Split(valid, train, valid, None, _together(rows, train), rows[valid], ()))
    return tuple(splits)


def outer(folds: Sequence[int], fold: int) -> Split:
    """The exam of a study that holds `fold` out: all other folds train, that one is tested. Its number is the fold's.

    folds: the fold of every clip. Raises ValueError for a fold that the data do not have, and for fewer than three.

    >>> split = outer([1, 2, 3], 2)
    >>> split.number, split.train_folds, split.valid_fold, split.test_fold
    (2, (1, 3), None, 2)
    """
    rows = _rows(folds, "held-out")
    if fold not in rows:
        raise ValueError(f"there is no fold {fold} to hold out, the data have {list(rows)}")
    train = tuple(number for number in rows if number != fold)
    return Split(fold, train, None, fold, _together(rows, train), (), rows[fold])


def _rows(folds: Sequence[int], protocol: str, least: int = 3) -> dict[int, tuple[int, ...]]:
    """The rows of each fold, folds in order."""
    rows: dict[int, list[int]] = {number: [] for number in sorted({int(fold) for fold in folds})}
    numbers = list(rows)
    if len(numbers) < least:
        raise ValueError(f"the {protocol} protocol needs at least {least} folds, the data have {numbers}")
    if numbers[0] < 1:
        raise ValueError(f"folds are numbered from 1, found {numbers[0]}")
    for row, fold in enumerate(folds):
        rows[int(fold)].append(row)
    return {number: tuple(its) for number, its in rows.items()}


def _together(rows: Mapping[int, Sequence[int]], folds: Iterable[int]) -> tuple[int, ...]:
    return tuple(sorted(row for fold in folds for row in rows[fold]))


ROTATING, NESTED = "rotating", "nested"
_HELD_OUT = re.compile(r"held-out ([1-9]\d*)")


def held_out(protocol: str) -> int | None:
    """The fold that a protocol keeps from the search; None where it keeps none from all of it.

    Raises ValueError for a protocol that is not known.

    >>> held_out("held-out 5"), held_out("rotating"), held_out("nested")
    (5, None, None)
    """
    if protocol in (ROTATING, NESTED):
        return None
    if match := _HELD_OUT.fullmatch(protocol):
        return int(match[1])
    raise ValueError(
        f"unknown protocol {protocol!r}, known: {ROTATING}, {NESTED} and held-out K, K a fold from 1"
    )


def check(split: Split, clips: ClipSet, allowed_sources: frozenset[int] = frozenset()) -> None:
    """Refuse a split that lets one part know another.

    The laws: no clip and no source (but the allowed ones) in two parts; the test fold in no other part; every
    row in a fold of its part. Raises LeakageError naming the rows, folds or sources.
    """
    where = f"split {split.number}"
    parts = {
        "train": (np.array(split.train, dtype=np.int64), set(split.train_folds)),
        "valid": (np.array(split.valid, dtype=np.int64), _one(split.valid_fold)),
        "test": (np.array(split.test, dtype=np.int64), _one(split.test_fold)),
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


def _one(fold: int | None) -> set[int]:
    return set() if fold is None else {fold}
