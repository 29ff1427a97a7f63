"""Scalars of a space file by the rules of YAML 1.2: `1e-4` is a number, `off` and `12:30` are texts."""

import re

from .domains import Value

NULLS = ("", "~", "null", "Null", "NULL")
INTEGER = re.compile(r"[-+]?[0-9]+")
NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


def parse_value(text: str) -> Value:
    """A scalar as a space file would read it.

    >>> parse_value("1e-4"), parse_value("16"), parse_value("true"), parse_value("'16'"), parse_value("off")
    (0.0001, 16, True, '16', 'off')
    """
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    return plain(text)


def plain(text: str) -> Value:
    """What an unquoted text means; only true and false are booleans."""
    if text in ("true", "True", "TRUE"):
        return True
    if text in ("false", "False", "FALSE"):
        return False
    if INTEGER.fullmatch(text):
        return int(text)
    return float(text) if NUMBER.fullmatch(text) else text
