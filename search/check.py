"""A space against what recipes know: every knob, default and corner must be a recipe before anything starts."""

import random
from collections.abc import Iterator, Mapping

from spaces.domains import Value
from spaces.space import Space, Values, complete, corner, corners, every, names, nearest, options, paths

from .errors import UsageError

TOGETHER = (  # knobs that can contradict each other: all combinations of their ends are tried
    ("architecture", "data.", "feature"),
    ("architecture", "data.", "model."),
    ("architecture", "augment."),
    ("optim.", "schedule"),
)
CORNERS = 1000  # of each group, at most; where there are more, so many are drawn at random
RATE, RATES = "data.sample_rate", 8  # each sample rate of a space is a store of its own


def check(space: Space) -> None:
    """Compare a space with what recipes know, before anything starts.

    Raises:
        UsageError: an unknown knob (with the nearest known), a default or a corner of the space that is no recipe.
    """
    from escmodels.recipe import knobs, parse

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
    for values in _corners(space):
        try:
            parse(values)
        except ValueError as error:
            name = _blamed(str(error), values)
            where = _at(space, name, paths(space, values)[name])
            raise UsageError(f"{where}: a point of the space is no recipe: {error}") from error


def _corners(space: Space) -> Iterator[Values]:
    """Corners to look at: the ends of what can contradict each other in all combinations, up to CORNERS each."""
    rng = random.Random(0)
    for group in TOGETHER:
        varied = {name for name in names(space) if name.startswith(group)}
        for number, values in enumerate(corners(space, varied, rng)):
            if number == CORNERS:  # too many: chance says which
                yield from (corner(space, rng) for _ in range(CORNERS))
                break
            yield values


def _at(space: Space, name: str, path: str) -> str:
    return f"{space.path or space.name}:{space.line(name, path)}"


def _blamed(sentence: str, values: Mapping[str, Value]) -> str:
    """The knob that an error is about: the first dotted name in it, else a choice, else any."""
    found = [("." not in name, sentence.find(name), -len(name), name) for name in values if name in sentence]
    return min(found)[-1] if found else next(iter(values))
