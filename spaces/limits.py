"""What a net of a space may cost at most, for one clip. A recipe above a limit is not trained."""

from collections.abc import Mapping

from .domains import Value

UNITS = {
    "params": "parameters",
    "macs": "multiply-adds a clip",
    "latency": "ms a clip",
}  # what can be limited


def reading(cost: str, value: Value) -> float:
    """A limit as written in a file. Raises ValueError where it is not a number above zero."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise ValueError(f"the limit of {cost} is {value!r}, expected a number of {UNITS[cost]} above 0")
    return float(value)


def exceeded(limits: Mapping[str, float], costs: Mapping[str, float]) -> str:
    """Which limits costs exceed, in words; "" where they keep all of them.

    >>> exceeded({"params": 5e4, "macs": 1e7}, {"params": 123456, "macs": 9e6})
    'over the limits: 123,456 parameters, at most 50,000'
    """
    over = [
        f"{costs[cost]:,.4g} {UNITS[cost]}, at most {most:,.4g}"
        if cost == "latency"
        else f"{costs[cost]:,.0f} {UNITS[cost]}, at most {most:,.0f}"
        for cost, most in limits.items()
        if costs[cost] > most
    ]
    return f"over the limits: {'; '.join(over)}" if over else ""


def text(limits: Mapping[str, float]) -> str:
    """The limits in one line.

    >>> text({"params": 50000.0, "latency": 2.5})
    'at most 50,000 parameters, 2.5 ms a clip'
    """
    return "at most " + ", ".join(
        f"{most:,.0f} {UNITS[cost]}" if most >= 1000 else f"{most:g} {UNITS[cost]}"
        for cost, most in limits.items()
    )
