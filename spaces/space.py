"""A space: which knobs there are, between which ends, and which open only when another is chosen.

A point is a flat dict of values; `walk` is the only way through a space, and sampling, Optuna and the tests
all go that way.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from functools import partial
from math import prod
from random import Random

from .domains import Categorical, Domain, Float, Int, Value, settle, show, text
from .tree import Draw, Level, Space, Values, below, every, names, nearest, paths, place, walk

__all__ = [
    "Draw", "Level", "PointError", "Space", "Values", "below", "complete", "contains", "corner", "corners",
    "dimensions", "every", "fix", "names", "nearest", "options", "paths", "place", "sample", "size", "taken", "walk",
]  # fmt: skip


class PointError(ValueError):
    """Values that are no point of a space; `knob` is the one at fault."""

    def __init__(self, knob: str, reason: str) -> None:
        super().__init__(reason)
        self.knob = knob


def sample(space: Space, rng: Random) -> Values:
    """A random point."""
    return walk(space, lambda name, domain, path: domain.sample(rng))


def corner(space: Space, rng: Random) -> Values:
    """A random point with every knob at one of its ends."""
    return walk(space, lambda name, domain, path: rng.choice(domain.ends()))


def corners(space: Space, varied: Collection[str], rng: Random) -> Iterator[Values]:
    """Every combination of the ends of the knobs named and of the choices that open them.

    The others are at a random end each time.
    """
    varied = {*varied, *_openers(space.root, varied)}
    turns: list[int] | None = []
    while turns is not None:
        dials: list[tuple[int, int]] = []  # where each varied knob stands, and how many ends it has
        yield walk(space, partial(_turned, varied, rng, turns, dials))
        while dials and dials[-1][0] == dials[-1][1] - 1:
            dials.pop()
        turns = [turn for turn, _ in dials[:-1]] + [dials[-1][0] + 1] if dials else None


def _openers(level: Level, wanted: Collection[str]) -> Iterator[str]:
    """Knobs whose choice opens a wanted knob, at any depth."""
    for name, arms in level.branches.items():
        if any(names(arm) & set(wanted) for arm in arms.values()):
            yield name
        for arm in arms.values():
            yield from _openers(arm, wanted)


def _turned(
    varied: Collection[str],
    rng: Random,
    turns: list[int],
    dials: list[tuple[int, int]],
    name: str,
    domain: Domain,
    path: str,
) -> Value:
    """The end of a knob that its dial points at; a dial that has not been turned yet points at the first."""
    ends = domain.ends()
    if name not in varied:
        return rng.choice(ends)
    turn = turns[len(dials)] if len(dials) < len(turns) else 0
    dials.append((turn, len(ends)))
    return ends[turn]


def complete(space: Space, partial: Mapping[str, Value]) -> Values:
    """The whole point of some of its values: missing knobs take the middle of their range or the first choice.

    Raises:
        PointError: a value outside its range, or a knob that is unknown or not open beside the others.
    """

    def draw(name: str, domain: Domain, path: str) -> Value:
        if name not in partial:
            return domain.middle()
        if not domain.contains(partial[name]):
            raise PointError(name, f"{name} is {show(partial[name])}, expected {text(domain)}")
        return settle(domain, partial[name])

    values = walk(space, draw)
    for name, value in partial.items():
        if name not in values:
            raise PointError(name, _closed(space, name, values))
        if values[name] != value:
            raise PointError(name, f"{name} is {show(value)}, but the space fixes it to {show(values[name])}")
    return values


def taken(knob: str, domain: Domain, values: Mapping[str, Value]) -> Value:
    """The value of a knob in a recipe, for a walk. Raises `PointError` where there is none, or none of its domain."""
    if knob not in values:
        raise PointError(knob, f"it has no {knob}")
    if not domain.contains(values[knob]):
        raise PointError(knob, f"{knob} is {show(values[knob])}, expected {text(domain)}")
    return settle(domain, values[knob])


def contains(space: Space, values: Mapping[str, Value]) -> bool:
    """Whether values are a whole point of the space: every open knob, and no other."""
    try:
        return complete(space, values).keys() == values.keys()
    except PointError:
        return False


def size(space: Space | Level) -> int | None:
    """Number of points; None where a range is continuous."""
    level = space.root if isinstance(space, Space) else space
    factors = [knob.size() for knob in level.knobs.values() if isinstance(knob, Domain)]
    for arms in level.branches.values():
        sizes = [size(arm) for arm in arms.values()]
        factors.append(None if None in sizes else sum(filter(None, sizes)))
    return None if None in factors else prod(filter(None, factors))


def dimensions(space: Space | Level) -> tuple[int, int]:
    """Least and most knobs that are drawn for a point; where there is one choice, nothing is drawn."""
    level = space.root if isinstance(space, Space) else space
    least = most = sum(isinstance(knob, Domain) and knob.size() != 1 for knob in level.knobs.values())
    for arms in level.branches.values():
        spans = [dimensions(arm) for arm in arms.values()]
        least += min(low for low, _ in spans) + (len(arms) > 1)
        most += max(high for _, high in spans) + (len(arms) > 1)
    return least, most


def options(space: Space | Level, knob: str) -> frozenset[Value | None]:
    """Every value a knob can take; None is among them if some point leaves it out.

    Raises ValueError for a continuous range.
    """
    level = space.root if isinstance(space, Space) else space
    match level.knobs.get(knob):
        case None:
            pass
        case Float() as domain:
            raise ValueError(f"{knob} is continuous ({text(domain)}), its values cannot be listed")
        case Int(low, high, step):
            return frozenset(range(low, high + 1, step))
        case Categorical(choices):
            return frozenset(choices)
        case fixed:
            return frozenset({fixed})
    if knob in level.branches:
        return frozenset(level.branches[knob])
    for arms in level.branches.values():
        if any(knob in names(arm) for arm in arms.values()):
            return frozenset().union(*(options(arm, knob) for arm in arms.values()))
    return frozenset({None})


def fix(space: Space, knob: str, value: Value) -> Space:
    """The space with a knob set to one value; for a branch, that arm alone.

    A range says where a search may look, so the value may lie outside it (a path of weights, for one), and may
    replace a fixed one; whether a recipe can be made of it is for the recipe to say.

    Defaults follow: the value replaces theirs, and what another arm had opened is left out of them. Those that
    had the value already stay first.

    Raises:
        ValueError: no such knob, or no such arm.
    """
    if knob not in names(space):
        raise ValueError(f"{space.path or space.name} has no knob {knob!r}{nearest(knob, names(space))}")
    root = _fix(space.root, knob, value, "")
    step_up = below("", knob, value) + ", "  # knobs of a chosen arm move up a level, and so do their lines
    moved_up = {key.replace(step_up, ""): line for key, line in space.lines.items() if step_up in key}
    smaller = replace(space, root=root, defaults=(), lines={**space.lines, **moved_up})
    defaults = sorted(
        (dict(default) for default in space.defaults), key=lambda d: d.get(knob, value) != value
    )
    kept: list[Mapping[str, Value]] = []
    for default in defaults:
        moved = _move(space, default, knob, value)
        if moved not in kept:
            complete(smaller, moved)
            kept.append(moved)
    return replace(smaller, defaults=tuple(kept))


def _move(space: Space, default: Values, knob: str, value: Value) -> Values:
    """A default with a knob set to a value, and without what only its old value had opened."""
    point = complete(space, default)
    if knob not in point or point[knob] == value:
        return default if knob not in point else {**default, knob: value}
    step = below("", knob, point[knob])
    closed = {name for name, path in paths(space, point).items() if step in path.split(", ")}
    return {name: old for name, old in default.items() if name not in closed} | {knob: value}


def _fix(level: Level, knob: str, value: Value, path: str) -> Level:
    knobs, branches = dict(level.knobs), dict(level.branches)
    if knob in knobs:
        domain = knobs[knob]
        if isinstance(domain, Domain) and domain.contains(value):
            value = settle(domain, value)
        knobs[knob] = value
    elif knob in branches:
        arms = branches.pop(knob)
        if not Categorical(tuple(arms)).contains(value):
            where = f" with {path}" if path else ""
            raise ValueError(f"{knob} is {show(value)}, expected {text(Categorical(tuple(arms)))}{where}")
        knobs |= {knob: value, **arms[value].knobs}
        branches |= arms[value].branches
    else:
        for name, arms in branches.items():
            branches[name] = {
                choice: _fix(arm, knob, value, below(path, name, choice)) for choice, arm in arms.items()
            }
    return Level(knobs, branches)


def _closed(space: Space, name: str, values: Mapping[str, Value]) -> str:
    places = [path for other, _, path in every(space) if other == name]
    if not places:
        return f"unknown knob {name!r}{nearest(name, names(space))}"
    wanted = " or ".join(dict.fromkeys(places))
    chosen = [below("", knob, value) for knob, value in values.items()]
    closed = next(step for step in places[0].split(", ") if step not in chosen)
    branch = closed.partition("=")[0]
    other = next((step for step in chosen if step.startswith(f"{branch}=")), f"{branch} closed")
    return f"{name} is open only with {wanted}, not with {other}"
