"""A space against what recipes know: every knob, default and corner must be a recipe before anything starts."""

import math
import random
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from spaces.domains import Value
from spaces.space import (
    Space,
    Values,
    complete,
    corner,
    corners,
    every,
    names,
    nearest,
    options,
    paths,
    sample,
)

from .errors import UsageError

if TYPE_CHECKING:
    from escmodels.recipe import Recipe

TOGETHER = (  # knobs that can contradict each other: all combinations of their ends are tried
    ("architecture", "data.", "feature"),
    ("architecture", "data.", "model."),
    ("architecture", "augment."),
    ("optim.", "schedule"),
)
CORNERS = 500  # of each group, at most; where there are more, so many are drawn at random
RATE, RATES = "data.sample_rate", 8  # each sample rate of a space is a store of its own


def check(space: Space) -> None:
    """Compare a space with what recipes know, before anything starts.

    Raises:
        UsageError: an unknown knob (with the nearest known), a default or a corner of the space that is no recipe.
    """
    import torch

    from escmodels.architectures import NetContext, build
    from escmodels.recipe import knobs, parse
    from escmodels.resnet import RESNETS, ResnetConfig

    for name, _, path in every(space):
        if name not in knobs():
            raise UsageError(f"{_at(space, name, path)}: unknown knob {name!r}{nearest(name, knobs())}")
    if len(rates := options(space, RATE)) > RATES:
        line = next(line for key, line in space.lines.items() if key.endswith(RATE))
        raise UsageError(
            f"{space.path}:{line}: {RATE} has {len(rates)} values, and all sounds are decoded once for each; "
            f"list at most {RATES} with type: categorical"
        )
    for number, default in enumerate(space.defaults):
        try:
            parse(complete(space, default))
        except ValueError as error:
            line = space.lines.get(f"defaults[{number}]", 1)
            raise UsageError(f"{space.path}:{line}: default is no recipe: {error}") from error
    backbones: dict[tuple[str, str], tuple[int, Values]] = {}  # with the smallest spectrogram they get
    for values in _corners(space):
        try:
            recipe = parse(values)
        except ValueError as error:
            raise _refused(space, values, error) from error
        if isinstance(recipe.model, ResnetConfig) and recipe.model.name not in RESNETS:
            key, size = (recipe.model.name, recipe.model.freeze), math.prod(_shape(recipe))
            if key not in backbones or size < backbones[key][0]:
                backbones[key] = size, values
    for _, values in backbones.values():  # what shapes they take shows only when they are built
        recipe = parse(values)
        try:
            with torch.device("meta"):  # shapes without numbers: a second for a large net
                build(recipe.model, NetContext(_shape(recipe), recipe.data.sample_rate, 2), pretrained=False)
        except ValueError as error:
            raise _refused(space, values, error) from error


def _shape(recipe: "Recipe") -> tuple[int, ...]:
    return recipe.feature.shape(recipe.data.crop_samples)


def _refused(space: Space, values: Values, error: ValueError) -> UsageError:
    name = _blamed(str(error), values)
    where = _at(space, name, paths(space, values)[name])
    return UsageError(f"{where}: a point of the space is no recipe: {error}")


def _corners(space: Space) -> Iterator[Values]:
    """Points to look at: the ends of what can contradict each other in all combinations, then any points.

    Chance has the last word because some values between the ends of a range may not do.
    """
    rng = random.Random(0)
    for group in TOGETHER:
        varied = {name for name in names(space) if name.startswith(group)}
        for number, values in enumerate(corners(space, varied, rng)):
            if number == CORNERS:  # too many: chance says which
                yield from (corner(space, rng) for _ in range(CORNERS))
                break
            yield values
    yield from (sample(space, rng) for _ in range(CORNERS))


def _at(space: Space, name: str, path: str) -> str:
    return f"{space.path or space.name}:{space.line(name, path)}"


def _blamed(sentence: str, values: Mapping[str, Value]) -> str:
    """The knob that an error is about: the first dotted name in it, else a choice, else any."""
    found = [("." not in name, sentence.find(name), -len(name), name) for name in values if name in sentence]
    return min(found)[-1] if found else next(iter(values))
