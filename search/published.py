"""A preset trained and scored as its source did it: a figure to stand beside an honest one, and never a model.

NAME/published.json    what was done and what came of it; such a folder is no study, so that no command promotes it
"""

import json
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from random import Random
from typing import Any

from spaces.published import Published
from spaces.space import dimensions, sample

from .errors import Failure, UsageError
from .files import write_atomically
from .local import check_device_there
from .paste import command, relative
from .settings import FIGURE, Settings
from .spec import Spec
from .studies import create
from .study import Study
from .terminal import progress

LABEL = "as published: NOT an honest figure, and never a model"


@dataclass(frozen=True)
class Trained:
    """One training of a published protocol."""

    clips: int  # that were trained on
    tested: int  # clips, or windows, that are reported
    epoch: int  # whose figure counts
    accuracy: float  # of that epoch
    last: float  # of the last one


@dataclass(frozen=True)
class Republished:
    """What a published protocol comes to. `accuracy` is the mean over its trainings."""

    study: str
    space: str
    data: str  # name of the set
    fingerprint: str
    synthetic: bool
    published: Published
    says: str  # how the figure is made
    epochs: int
    asked: int  # epochs of the preset
    seed: int
    accuracy: float
    trainings: tuple[Trained, ...]
    seconds: float

    def document(self) -> dict[str, Any]:
        """For a script, and for the file."""
        return {"label": LABEL, **asdict(self)}


def run_published(
    spec: Spec, space: str, settings: Settings, *, name: str | None = None, threads: int, device: str
) -> Republished:
    """Train a preset by the protocol of its source, one training after another in this process, and keep the figure.

    threads: of torch; device: "cpu" or "cuda".
    Raises `UsageError` for a space that is no preset or several recipes, and for data that its protocol cannot split.
    """
    check_device_there(device)
    study = create(spec, space, settings, name)
    told = study.space.published
    if told is None:
        raise UsageError(
            f"{study.space.path} does not say how it was published, so there is nothing to do again: leave "
            "--as-published out, or take a preset (seeds/...)"
        )
    if dimensions(study.space) != (0, 0):
        raise UsageError(
            f"--as-published trains one recipe and {study.space.path} has open knobs: fix them with --set"
        )
    study.folder.mkdir(parents=True)  # the name is taken from now on
    try:
        study.open_clips(settings, progress)
        found = _trained(study, told, threads, device)
        write_atomically(study.folder / FIGURE, json.dumps(found.document(), indent=1) + "\n")
    finally:
        study.release()
        with suppress(OSError):
            study.folder.rmdir()  # where no figure was kept
    return found


def _trained(study: Study, told: Published, threads: int, device: str) -> Republished:
    from escmodels.fit import fit
    from escmodels.published import PROTOCOLS, reported, splits
    from escmodels.recipe import parse

    from .trial import told as said
    from .trial import use_threads

    use_threads(threads)
    recipe, protocol = parse(sample(study.space, Random(0))), PROTOCOLS[told.protocol]
    clips = study.clips[recipe.data.sample_rate]
    began = time.monotonic()
    trainings: list[Trained] = []
    try:
        parts = splits(protocol, clips, recipe.data.crop_samples, study.spec.seed)
    except ValueError as error:
        raise UsageError(f"{study.dataset.name} cannot be split as published: {error}") from error
    try:
        with progress("epochs") as tick:
            for number, (train, test) in enumerate(parts):
                done = number * study.epochs
                fitted = fit(
                    recipe,
                    train,
                    test,
                    epochs=study.epochs,
                    seed=study.spec.seed,
                    device=device,
                    on_epoch=lambda score, done=done: tick(done + score.epoch, len(parts) * study.epochs),  # type: ignore[misc]
                )
                epoch, accuracy = reported(protocol, fitted.scores)
                last = fitted.scores[-1].valid_accuracy or 0.0
                trainings.append(Trained(len(train), len(test), epoch, accuracy, float(last)))
    except (ValueError, RuntimeError) as error:
        raise Failure(f"{study.space.name} could not be trained as published: {said(error)}") from error
    return Republished(
        study.name,
        study.space.name,
        study.dataset.name,
        study.data,
        study.dataset.synthetic,
        told,
        protocol.says,
        study.epochs,
        study.space.epochs,
        study.spec.seed,
        sum(one.accuracy for one in trainings) / len(trainings),
        tuple(trainings),
        time.monotonic() - began,
    )


def _plain(name: str) -> str:
    """The name of a data set, however it is spelt.

    >>> _plain("ESC-50") == _plain("esc50")
    True
    """
    return re.sub(r"\W", "", name).lower()


def boxed(found: Republished, settings: Settings, again: Sequence[str]) -> tuple[str, str]:
    """(title, text) of the final box. again: words after `run` that examine the same recipe honestly."""
    each = " ".join(f"{one.accuracy:.3f}" for one in found.trainings)
    shorter = "" if found.epochs == found.asked else f" of the {found.asked} of the preset"
    elsewhere = (
        ""
        if _plain(found.data) == _plain(found.published.data)
        else f"; it was published on {found.published.data}"
    )
    made = " (synthetic sounds)" if found.synthetic else ""
    lines = [
        f"figure    accuracy {found.accuracy:.3f} ({each})",
        f"caution   {LABEL}",
        f"protocol  {found.published.protocol}: {found.says}",
        f"reported  {found.published.reported or 'no figure'}",
        f"data      {found.data}{made}, fingerprint {found.fingerprint}{elsewhere}",
        f"epochs    {found.epochs}{shorter}; seed {found.seed}",
        f"kept      {relative(settings.study(found.study) / FIGURE)}",
        "",
        "next, for an honest figure of the same recipe",
        f"  {command(settings, 'run', *again)}",
    ]
    return f"{found.space}, as published", "\n".join(lines)
