"""The shape of a space: levels of knobs that are open together, and the one way through them.

The path of a knob says what was chosen above it: "architecture=mel_cnn, feature=logmel".
"""

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from .domains import Categorical, Domain, Value, show
from .published import Published

Values = dict[str, Value]
Draw = Callable[[str, Domain, str], Value]


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
    published: Published | None = None  # of a preset
    limits: Mapping[str, float] = field(default_factory=dict)  # cost -> the most that a recipe may cost

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


def paths(space: Space | Level, values: Mapping[str, Value], path: str = "") -> dict[str, str]:
    """The path of every knob that is open at a point, fixed ones included."""
    level = space.root if isinstance(space, Space) else space
    found = dict.fromkeys(level.knobs, path)
    for name, arms in level.branches.items():
        choice = values[name]
        found |= {name: path, **paths(arms[choice], values, below(path, name, choice))}
    return found


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown name.

    >>> nearest("optim.rate", ["optim.lr", "model.width"])
    "; the nearest known is 'optim.lr'"
    """
    found = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.0)
    return f"; the nearest known is {found[0]!r}" if found else ""
