"""What keeps an exam honest: the fold that a search never sees, and the check that it holds no copy of the others."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from escmodels.clips import ClipSet
from escmodels.folds import NESTED, held_out

from .datasets.copies.similar import Pair
from .datasets.copies.together import sentence
from .datasets.dataset import Dataset
from .datasets.ready import Tasks
from .datasets.waves.store import prepare_all
from .errors import Leakage, UsageError
from .paste import command, relative
from .settings import Settings
from .spec import Spec
from .terminal import say

SHOWN = 3  # pairs of clips named in one message


@dataclass(frozen=True)
class Sealed:
    """A data set without the fold that is held out: other files, in which no sample of that fold lies."""

    dataset: Dataset
    clips: dict[int, ClipSet]  # by sample rate in Hz
    folders: tuple[Path, ...]  # of the stores


def seal(dataset: Dataset, fold: int, rates: Sequence[int], settings: Settings, tasks: Tasks) -> Sealed:
    """The waveforms of all other folds in stores of their own, copied from those that are decoded.

    Raises `UsageError` for a fold that cannot be held out, `Failure` as `prepare_all` does.
    """
    check_fold(dataset, fold)
    rest = replace(dataset, clips=tuple(clip for clip in dataset.clips if clip.fold != fold))
    with tasks(f"sealing fold {fold}") as tick:
        stores = prepare_all(rest, rates, settings.cache, tick, say)
    clips = {rate: store.clips for rate, store in stores.items()}
    return Sealed(rest, clips, tuple(store.folder for store in stores.values()))


def check_protocol(dataset: Dataset, protocol: str) -> None:
    """Raises `UsageError` for a fold that cannot be held out; folds that are still to be made are not looked at."""
    if not all(clip.fold for clip in dataset.clips):
        return
    if protocol == NESTED:
        for fold in sorted({clip.fold for clip in dataset.clips}):
            if alone := _alone(dataset, fold):
                raise UsageError(
                    f"--nested: {dataset.name} has class {alone[0]} in fold {fold} alone, so nothing could learn it "
                    "while that fold is held out; leave the class out with --classes"
                )
    elif (fold_held := held_out(protocol)) is not None:
        check_fold(dataset, fold_held)


def check_fold(dataset: Dataset, fold: int) -> None:
    """Raises `UsageError` for a fold that the data do not have, or without which a class would be unknown."""
    folds = sorted({clip.fold for clip in dataset.clips})
    said = f"--held-out {fold}: {dataset.name} has "
    if fold not in folds:
        raise UsageError(f"{said}the folds {', '.join(map(str, folds))}; name one of them")
    if alone := _alone(dataset, fold):
        raise UsageError(
            f"{said}class {alone[0]} in this fold alone, so nothing could learn it; hold another fold out, "
            "or leave the class out with --classes"
        )


def _alone(dataset: Dataset, fold: int) -> list[str]:
    """Classes that no other fold has, by name."""
    known = {clip.label for clip in dataset.clips if clip.fold != fold}
    return sorted({clip.label for clip in dataset.clips} - known)


def check_copies(dataset: Dataset, leaks: Sequence[Pair], spec: Spec, settings: Settings) -> None:
    """Raises `Leakage` where clips of two folds hold the same audio, unless that was accepted."""
    if not leaks or spec.accept_similar:
        return
    shown = "; ".join(sentence(pair, dataset.clips) for pair in leaks[:SHOWN])
    more = f"; and {len(leaks) - SHOWN} more pairs" if len(leaks) > SHOWN else ""
    listen = command(settings, *_audit(spec), "--html", "audit.html")
    raise Leakage(
        f"{dataset.name}: {shown}{more}; listen to them ({listen}), then take one of each pair out,"
        " or go on as it is with --accept-similar, which is recorded"
    )


def _audit(spec: Spec) -> list[str]:
    """The words of the command that finds the copies of a study's data; but for its label map."""
    return ["data", "audit", relative(spec.data), *layout_words(spec)]


def layout_words(spec: Spec) -> list[str]:
    """The flags with which a data set is read as a study reads it; but for its label map."""
    words = []
    for name in ("format", "subset", "source_regex", "splits"):
        if value := getattr(spec, name):
            words += [f"--{name.replace('_', '-')}", str(value)]
    if spec.drop_cross_fold_sources:
        words.append("--drop-cross-fold-sources")
    return words
