"""The nodes of a YAML file, which know their lines: mappings and values, or one sentence about what is wrong."""

from typing import NoReturn

import yaml

from .domains import Value
from .scalars import NULLS, plain


class SpaceError(ValueError):
    """A space file that cannot be understood."""

    def __init__(self, reason: str, file: str, line: int | None = None) -> None:
        super().__init__(f"{file}:{line}: {reason}" if line else f"{file}: {reason}")
        self.file, self.line = file, line


class Nodes:
    """Reads the nodes of one file."""

    def __init__(self, file: str) -> None:
        self.file = file

    def fail(self, node: yaml.Node, reason: str) -> NoReturn:
        raise SpaceError(reason, self.file, node.start_mark.line + 1)

    def mapping(self, node: yaml.Node, what: str) -> list[tuple[Value, yaml.Node, yaml.Node]]:
        """(key, its node, the value's node); keys are told apart."""
        if not isinstance(node, yaml.MappingNode):
            self.fail(node, f"{what} must be a mapping of keys and values")
        pairs: list[tuple[Value, yaml.Node, yaml.Node]] = []
        for key_node, value in node.value:
            key = self.scalar(key_node, f"a key of {what}")
            for other, before, _ in pairs:
                if other == key:
                    self.fail(key_node, f"{key!r} is given twice, first in line {before.start_mark.line + 1}")
            pairs.append((key, key_node, value))
        return pairs

    def scalar(self, node: yaml.Node, what: str) -> Value:
        if not isinstance(node, yaml.ScalarNode):
            self.fail(node, f"{what} must be one value")
        if node.style is None and node.value in NULLS:
            self.fail(node, f"{what} is empty, expected a value")
        return plain(node.value) if node.style is None else str(node.value)
