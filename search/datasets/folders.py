"""A folder of one's own recordings: `LABEL/*.wav|flac|ogg|mp3`, one folder a class. Folds are made here."""

import re
import warnings
from dataclasses import replace
from itertools import product
from pathlib import Path

from ..errors import Failure, UsageError
from .clip import SUFFIXES, Clip, Dataset, slug

LOOKS_LIKE = "one folder a class, LABEL/*.wav|flac|ogg|mp3"
LICENCE = "not known"
ATTEMPTS = 20  # shuffles tried until every class stands in every fold


def recognise(root: Path) -> bool:
    """Whether at least one folder with sounds lies under `root`."""
    return any(_sounds(folder) for folder in _labels(root))


def read(
    root: Path,
    source_regex: str | None = None,
    folds: int = 5,
    seed: int = 0,
    skip_bad: bool = False,
) -> Dataset:
    """List the clips and deal them into `folds` folds: stratified by class, sources kept whole, seeded.
    With 0 folds none are made: enough for looking at the sounds, not for learning from them.

    The source of a clip is the first group of `source_regex` in its file name, or else the file itself.

    Raises:
        UsageError: no such layout, fewer than two classes, or an expression that does not fit the file names.
        Failure: a class has fewer sources than folds.
    """
    pattern = _pattern(source_regex)
    clips = [
        Clip(f"{folder.name}/{path.name}", path, folder.name, 0, _source(path, pattern))
        for folder in _labels(root)
        for path in _sounds(folder)
    ]
    classes = tuple(sorted({clip.label for clip in clips}))
    if not clips:
        raise UsageError(f"{root} has no classes: looked for {LOOKS_LIKE}")
    if len(classes) < 2:
        raise UsageError(f"{root} has one class only ({classes[0]}): looked for {LOOKS_LIKE}")
    dealt = make_folds(clips, folds, seed) if folds else [0] * len(clips)
    return Dataset(
        name=slug(root.resolve().name),
        root=root,
        format="folders",
        clips=tuple(replace(clip, fold=fold) for clip, fold in zip(clips, dealt, strict=True)),
        classes=classes,
        official_folds=False,
        licence=LICENCE,
        non_commercial=False,
        skip_bad=skip_bad,
        fold_seed=seed if folds else None,
    )


def make_folds(clips: list[Clip], folds: int, seed: int) -> list[int]:
    """The fold (1..`folds`) of each clip: classes spread evenly, no source in two folds.

    Raises `UsageError` for fewer than 3 folds, `Failure` where a class cannot stand in every fold.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    if folds < 3:
        raise UsageError(f"{folds} folds are too few: train, validation and test need at least 3")
    sources: dict[str, set[str]] = {}
    for clip in clips:
        sources.setdefault(clip.label, set()).add(clip.source)
    short = {label: len(of) for label, of in sorted(sources.items()) if len(of) < folds}
    if short:
        counts = ", ".join(f"{label} has {count}" for label, count in short.items())
        raise Failure(
            f"too few sources for {folds} folds: {counts}; record more, leave the class out, or use fewer folds"
        )
    labels, owners = [clip.label for clip in clips], [clip.source for clip in clips]
    for attempt in range(ATTEMPTS):
        state = (seed + 1_000_003 * attempt) % 2**32
        dealt = [0] * len(clips)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on rare classes: they are counted above and below
            parts = StratifiedGroupKFold(folds, shuffle=True, random_state=state).split(
                labels, labels, owners
            )
            for fold, (_, rows) in enumerate(parts, start=1):
                for row in rows:
                    dealt[row] = fold
        missing = set(product(sources, range(1, folds + 1))) - set(zip(labels, dealt, strict=True))
        if not missing:
            return dealt
    label, fold = min(missing)
    raise Failure(
        f"class {label} does not reach fold {fold} of {folds}: its clips share sources with other classes;"
        " use fewer folds or a narrower --source-regex"
    )


def _labels(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def _sounds(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )


def _pattern(source_regex: str | None) -> re.Pattern[str] | None:
    if source_regex is None:
        return None
    try:
        pattern = re.compile(source_regex)
    except re.error as error:
        raise UsageError(f"--source-regex {source_regex!r} is no regular expression: {error}") from error
    if not pattern.groups:
        raise UsageError(
            f"--source-regex {source_regex!r} has no group: put the source in brackets, '^(.+?)_'"
        )
    return pattern


def _source(path: Path, pattern: re.Pattern[str] | None) -> str:
    if pattern is None:
        return f"{path.parent.name}/{path.name}"
    found = pattern.search(path.name)
    if not found or not found[1]:
        raise UsageError(
            f"{path.parent.name}/{path.name}: --source-regex {pattern.pattern!r} finds no source in this name"
        )
    return found[1]
