"""A YAML file -> Space. Every mistake is one sentence with its file and line: "FILE:LINE: what is wrong"."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import yaml

from . import limits, published
from .domains import Categorical, Domain, Float, Int, Value
from .nodes import Nodes, SpaceError
from .scalars import NULLS
from .space import Level, PointError, Space, below, complete, names, nearest, place

HERE = Path(__file__).parent
KEYS = ("about", "epochs", "published", "limits", "knobs", "defaults")
DOMAINS = {
    "float": (Float, ("low", "high", "log"), ("low", "high")),
    "int": (Int, ("low", "high", "step", "log"), ("low", "high")),
    "categorical": (Categorical, ("choices",), ("choices",)),
}


def shipped() -> tuple[str, ...]:
    """Names of the spaces that come with the package, presets as "seeds/NAME"."""
    return tuple(sorted(path.relative_to(HERE).with_suffix("").as_posix() for path in HERE.rglob("*.yaml")))


def find(name: str | Path) -> Path:
    """The file of a space: a path, or the name of a shipped one ("esc10", "spaces/esc10.yaml", "seeds/mel_cnn_esc50").

    Raises `SpaceError` where there is none.
    """
    path = Path(name)
    if path.is_file():
        return path
    short = path.as_posix().removeprefix("spaces/").removesuffix(".yaml")
    if short in shipped():
        return HERE / f"{short}.yaml"
    reason = "is a folder, expected a space file" if path.is_dir() else "no such space file"
    known = ", ".join(shipped())
    raise SpaceError(f"{reason}; shipped are {known}{nearest(path.stem, shipped())}", str(name))


def load(path: str | Path) -> Space:
    """Read a space. Raises `SpaceError` for anything that cannot be meant."""
    file = find(path)
    try:
        node = yaml.compose(file.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        said = " ".join(str(error.problem or error.context).split())
        raise SpaceError(f"not valid YAML: {said}", str(file), mark.line + 1 if mark else None) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SpaceError("not a text file in UTF-8", str(file)) from error
    return _Reader(str(file)).space(node, file.stem)


class _Reader(Nodes):
    """Makes a space of the nodes of one file."""

    def __init__(self, file: str) -> None:
        super().__init__(file)
        self.lines: dict[str, int] = {}
        self.above: list[int] = []  # nodes that are being read: an alias may lead back to them

    def space(self, node: yaml.Node | None, name: str) -> Space:
        if node is None:
            raise SpaceError("is empty, expected the keys about, epochs and knobs", self.file)
        top = self.mapping(node, "a space")
        for key, key_node, _ in top:
            if key not in KEYS:
                self.fail(key_node, f"unknown key {key!r}{nearest(str(key), KEYS)}")
        parts = {key: value for key, _, value in top}
        for key in ("epochs", "knobs"):
            if key not in parts:
                self.fail(node, f"the space has no {key!r}")
        about = self.scalar(parts["about"], "about") if "about" in parts else ""
        epochs = self.scalar(parts["epochs"], "epochs")
        if not isinstance(epochs, int) or isinstance(epochs, bool) or epochs < 1:
            self.fail(parts["epochs"], f"epochs is {epochs!r}, expected a whole number of at least 1")
        root = self.level(parts["knobs"], "")
        if not root.knobs and not root.branches:
            self.fail(parts["knobs"], "knobs is empty, expected at least one knob")
        space = Space(name, str(about), epochs, root, lines=self.lines, path=self.file)
        defaults = self.defaults(parts["defaults"], space) if "defaults" in parts else ()
        told = self.published(parts["published"]) if "published" in parts else None
        most = self.limits(parts["limits"]) if "limits" in parts else {}
        return replace(space, defaults=defaults, published=told, limits=most)

    def published(self, node: yaml.Node) -> published.Published:
        """What a preset says of its system."""
        texts: dict[str, str] = {}
        for key, key_node, value in self.mapping(node, "published"):
            if key not in published.KEYS:
                self.fail(
                    key_node, f"published has the unknown key {key!r}{nearest(str(key), published.KEYS)}"
                )
            texts[str(key)] = str(self.scalar(value, f"{key} of published"))
        for key in published.NEEDED:
            if key not in texts:
                self.fail(node, f"published has no {key!r}")
        try:
            return published.Published(**texts)
        except ValueError as error:
            self.fail(node, f"published: {error}")

    def limits(self, node: yaml.Node) -> dict[str, float]:
        """The most that a recipe may cost."""
        found: dict[str, float] = {}
        for key, key_node, value in self.mapping(node, "limits"):
            cost = str(key)
            if cost not in limits.UNITS:
                self.fail(key_node, f"limits has the unknown key {cost!r}{nearest(cost, limits.UNITS)}")
            number = self.scalar(value, f"the limit of {cost}")
            try:
                found[cost] = limits.reading(cost, number)
            except ValueError as error:
                self.fail(value, str(error))
        return found

    def level(self, node: yaml.Node, path: str) -> Level:
        if isinstance(node, yaml.ScalarNode) and node.style is None and node.value in NULLS:
            return Level()  # an arm without knobs of its own
        if id(node) in self.above:
            self.fail(node, "an alias leads back to the mapping it stands in")
        self.above.append(id(node))
        knobs: dict[str, Domain | Value] = {}
        branches: dict[str, dict[Value, Level]] = {}
        open_at: dict[str, int] = {}  # every knob that may be open in this level -> line
        for key, key_node, value in self.mapping(node, f"the knobs of {path}" if path else "knobs"):
            name, line = str(key), key_node.start_mark.line + 1
            self.lines.setdefault(name, line)
            self.lines.setdefault(place(name, path), line)
            arms = self.arms(value, name, path)
            mine = {name: line}
            if arms is None:
                knobs[name] = self.knob(value, name)
            else:
                branches[name] = arms
                for choice, arm in arms.items():
                    inside = below(path, name, choice)
                    for other in names(arm):
                        self.open_once(other, self.lines.get(place(other, inside), line), {name: line})
                        mine[other] = self.lines.get(place(other, inside), line)
            for other, at in mine.items():
                self.open_once(other, at, open_at)
            open_at |= mine
        self.above.pop()
        return Level(knobs, branches)

    def open_once(self, name: str, line: int, open_at: Mapping[str, int]) -> None:
        if name in open_at:
            first, second = sorted((open_at[name], line))
            raise SpaceError(
                f"knob {name!r} is open already, it stands in line {first} too", self.file, second
            )

    def arms(self, node: yaml.Node, name: str, path: str) -> dict[Value, Level] | None:
        """The arms of a knob whose choices are a mapping; None for any other knob."""
        if not isinstance(node, yaml.MappingNode):
            return None
        choices = next((value for key, value in node.value if key.value == "choices"), None)
        if not isinstance(choices, yaml.MappingNode):
            return None
        self.domain_keys(node, name)
        pairs = self.mapping(choices, f"the choices of {name}")
        if not pairs:
            self.fail(choices, f"{name}: choices is empty, expected at least one value")
        return {key: self.level(value, below(path, name, key)) for key, _, value in pairs}

    def domain_keys(self, node: yaml.Node, name: str) -> tuple[str, dict[str, yaml.Node]]:
        """The type of a knob and its other keys."""
        pairs = self.mapping(node, name)
        parts = {str(key): value for key, _, value in pairs}
        kind = self.scalar(parts["type"], f"type of {name}") if "type" in parts else None
        if kind is None:
            self.fail(node, f"{name} has no 'type', known: {', '.join(DOMAINS)}")
        if not isinstance(kind, str) or kind not in DOMAINS:
            self.fail(parts["type"], f"{name} has the unknown type {kind!r}{nearest(str(kind), DOMAINS)}")
        _, allowed, needed = DOMAINS[kind]
        for key, key_node, _ in pairs:
            if key != "type" and key not in allowed:
                self.fail(key_node, f"{name} has the unknown key {key!r}{nearest(str(key), allowed)}")
        for key in needed:
            if key not in parts:
                self.fail(node, f"{name} of type {kind} has no {key!r}")
        return kind, {key: value for key, value in parts.items() if key != "type"}

    def knob(self, node: yaml.Node, name: str) -> Domain | Value:
        """A fixed value or a domain."""
        if isinstance(node, yaml.ScalarNode):
            return self.scalar(node, name)
        if isinstance(node, yaml.SequenceNode):
            self.fail(node, f"{name} is a list; for a choice write {{type: categorical, choices: [...]}}")
        kind, parts = self.domain_keys(node, name)
        build = DOMAINS[kind][0]
        arguments = {key: self.argument(value, f"{key} of {name}") for key, value in parts.items()}
        try:
            return build(**arguments)
        except ValueError as error:
            self.fail(node, f"{name}: {error}")

    def argument(self, node: yaml.Node, what: str) -> object:
        if what.startswith("choices "):
            if not isinstance(node, yaml.SequenceNode):
                self.fail(node, f"{what} must be a list, or a mapping of choices and the knobs they open")
            return tuple(self.scalar(item, f"an item of {what}") for item in node.value)
        return self.scalar(node, what)

    def defaults(self, node: yaml.Node, space: Space) -> tuple[dict[str, Value], ...]:
        """One mapping or a list of them; each must be the start of a point."""
        items: Sequence[yaml.Node] = node.value if isinstance(node, yaml.SequenceNode) else [node]
        points = []
        for number, item in enumerate(items):
            pairs = self.mapping(item, "a default")
            self.lines[f"defaults[{number}]"] = item.start_mark.line + 1
            values = {str(key): self.scalar(value, f"default of {key}") for key, _, value in pairs}
            try:
                complete(space, values)
            except PointError as error:
                self.fail(
                    next(key_node for key, key_node, _ in pairs if key == error.knob), f"default: {error}"
                )
            points.append(values)
        return tuple(points)
