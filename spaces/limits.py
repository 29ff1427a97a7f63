"""What a net of a space may cost at most, for one clip. A recipe above a limit is not trained."""

from collections.abc import Mapping

from .domains import Value

UNITS = {
    "params": "parameters",
    "macs": "multiply-adds a clip",
    "latency": "ms a clip",
}  # what can be limited
OVER = "over the limits: "


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
        f"{above(costs[cost], most)} {UNITS[cost]}, at most {most:,.15g}"
        for cost, most in limits.items()
        if costs[cost] > most
    ]
    return f"{OVER}{'; '.join(over)}" if over else ""


def above(value: float, limit: float) -> str:
    """A value with as many digits as show that it is over the limit, three at least.

    >>> above(20.004, 20), above(123456, 5e4), above(31.25, 20)
    ('20.004', '123,456', '31.2')
    """
    for digits in range(3, 18):
        text = f"{value:,.{digits}g}"
        if "e" not in text and float(text.replace(",", "")) > limit:
            return text
    return repr(value)


def text(limits: Mapping[str, float]) -> str:
    """The limits in one line.

    >>> text({"params": 50000.0, "latency": 2.5})
    'at most 50,000 parameters, 2.5 ms a clip'
    """
    return "at most " + ", ".join(f"{most:,.15g} {UNITS[cost]}" for cost, most in limits.items())
