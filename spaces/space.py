"""A space: which knobs there are, between which ends, and which open only when another is chosen.

A point is a flat dict of values; `walk` is the only way through a space, and sampling, Optuna and the tests
all go that way. The path of a knob says what was chosen above it: "architecture=mel_cnn, feature=logmel".
"""

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from random import Random

from .domains import Categorical, Domain, Float, Int, Value, settle, show, text

Values = dict[str, Value]
Draw = Callable[[str, Domain, str], Value]


class PointError(ValueError):
    """Values that are no point of a space; `knob` is the one at fault."""

    def __init__(self, knob: str, reason: str) -> None:
        super().__init__(reason)
        self.knob = knob


@dataclass(frozen=True)
class Level:
    """Knobs that are open together. A branch is a categorical whose choices open further knobs."""

    knobs: Mapping[str, Domain | Value] = field(default_factory=dict)  # a bare value is fixed
    branches: "Mapping[str, Mapping[Value, Level]]" = field(default_factory=dict)


@dataclass(frozen=True)
class Space:
    """A space as written in a file."""

    name: str
    about: str
    epochs: int  # of a fold run
    root: Level
    defaults: tuple[Mapping[str, Value], ...] = ()  # the first trials; each may name only some knobs
    lines: Mapping[str, int] = field(default_factory=dict)  # of a knob, and of each place ("PATH, KNOB")
    path: str = ""

    def line(self, knob: str, path: str = "") -> int:
        """Line of a knob in the file: where it stands under `path`, else where it first stands, else 1."""
        return self.lines.get(place(knob, path), self.lines.get(knob, 1))


def place(knob: str, path: str) -> str:
    """A knob with its path in front: what tells equal names in different arms apart."""
    return f"{path}, {knob}" if path else knob


def below(path: str, knob: str, choice: Value) -> str:
    """The path of the knobs that a choice opens."""
    return place(f"{knob}={show(choice)}", path)


def walk(space: Space | Level, draw: Draw, path: str = "") -> Values:
    """Ask `draw(name, domain, path)` for every knob that is open, parents before children."""
    level = space.root if isinstance(space, Space) else space
    values: Values = {}
    for name, knob in level.knobs.items():
        values[name] = draw(name, knob, path) if isinstance(knob, Domain) else knob
    for name, arms in level.branches.items():
        values[name] = choice = draw(name, Categorical(tuple(arms)), path)
        values |= walk(arms[choice], draw, below(path, name, choice))
    return values


def sample(space: Space, rng: Random) -> Values:
    """A random point."""
    return walk(space, lambda name, domain, path: domain.sample(rng))


def corner(space: Space, rng: Random) -> Values:
    """A random point with every knob at one of its ends."""
    return walk(space, lambda name, domain, path: rng.choice(domain.ends()))


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


def contains(space: Space, values: Mapping[str, Value]) -> bool:
    """Whether values are a whole point of the space: every open knob, and no other."""
    try:
        return complete(space, values).keys() == values.keys()
    except PointError:
        return False


def every(space: Space | Level, path: str = "") -> Iterator[tuple[str, Domain | Value, str]]:
    """(name, domain or fixed value, path) of every knob in every arm, parents before children."""
    level = space.root if isinstance(space, Space) else space
    for name, knob in level.knobs.items():
        yield name, knob, path
    for name, arms in level.branches.items():
        yield name, Categorical(tuple(arms)), path
        for choice, arm in arms.items():
            yield from every(arm, below(path, name, choice))


def names(space: Space | Level) -> frozenset[str]:
    """Names of all knobs, open or not, fixed or not."""
    return frozenset(name for name, _, _ in every(space))


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
    """The part of the space where a knob has one value; for a branch, that arm alone.

    Defaults follow: the value replaces theirs, and those of other arms are dropped.

    Raises:
        ValueError: no such knob, or a value outside its range.
    """
    if knob not in names(space):
        raise ValueError(f"{space.path or space.name} has no knob {knob!r}{nearest(knob, names(space))}")
    root = _fix(space.root, knob, value, "")
    step_up = below("", knob, value) + ", "  # knobs of a chosen arm move up a level, and so do their lines
    moved_up = {key.replace(step_up, ""): line for key, line in space.lines.items() if step_up in key}
    smaller = replace(space, root=root, defaults=(), lines={**space.lines, **moved_up})
    kept: list[Mapping[str, Value]] = []
    for default in space.defaults:
        before = complete(space, default)
        moved = {**default, knob: value} if knob in before else dict(default)
        try:
            complete(smaller, moved)
        except PointError:  # a default of another arm
            continue
        if moved not in kept:
            kept.append(moved)
    return replace(smaller, defaults=tuple(kept))


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown name.

    >>> nearest("optim.rate", ["optim.lr", "model.width"])
    "; the nearest known is 'optim.lr'"
    """
    found = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.0)
    return f"; the nearest known is {found[0]!r}" if found else ""


def _fix(level: Level, knob: str, value: Value, path: str) -> Level:
    knobs, branches = dict(level.knobs), dict(level.branches)
    where = f" with {path}" if path else ""
    if knob in knobs:
        domain = knobs[knob]
        if not isinstance(domain, Domain):
            if domain != value:
                raise ValueError(f"{knob} is {show(value)}, but the space fixes it to {show(domain)}{where}")
        elif not domain.contains(value):
            raise ValueError(f"{knob} is {show(value)}, expected {text(domain)}{where}")
        else:
            knobs[knob] = settle(domain, value)
    elif knob in branches:
        arms = branches.pop(knob)
        if not Categorical(tuple(arms)).contains(value):
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
