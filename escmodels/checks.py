"""The two checks every config makes of itself; the message shows the knob, the value and what is allowed."""

from collections.abc import Sequence


def within(knob: str, value: float, low: float, high: float) -> None:
    """Refuse a number outside [low, high] (both ends included; NaN is outside).

    >>> within("model.dropout", 1.5, 0.0, 0.9)
    Traceback (most recent call last):
    ValueError: model.dropout is 1.5, expected a number from 0.0 to 0.9
    """
    if not low <= value <= high:
        raise ValueError(f"{knob} is {value!r}, expected a number from {low} to {high}")


def one_of(knob: str, value: object, allowed: Sequence[object]) -> None:
    """Refuse a value that is not among the allowed ones."""
    if value not in allowed:
        raise ValueError(f"{knob} is {value!r}, expected one of {', '.join(map(repr, allowed))}")
