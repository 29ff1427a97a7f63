"""What one knob may be. Both ends are included; a domain that cannot be is refused when it is made."""

import math
from dataclasses import dataclass
from random import Random
from typing import TypeGuard

Value = str | int | float | bool


@dataclass(frozen=True)
class Float:
    """Any number from low to high; `log` spreads draws evenly over the orders of magnitude.

    >>> Float(1e-4, 1e-2, log=True).middle()
    0.001
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        for end in (self.low, self.high):
            if not is_number(end) or not math.isfinite(end):
                raise ValueError(f"a float needs finite numbers as its ends, got {end!r}")
        object.__setattr__(self, "low", float(self.low))
        object.__setattr__(self, "high", float(self.high))
        _check_range(self.low, self.high, self.log)

    def contains(self, value: object) -> bool:
        """Whether a number lies in the range; a bool is no number."""
        return is_number(value) and self.low <= value <= self.high

    def ends(self) -> tuple[Value, ...]:
        """The extreme values."""
        return (self.low, self.high)

    def sample(self, rng: Random) -> float:
        """A random value."""
        return self._between(rng.random())

    def middle(self) -> float:
        """Halfway, on the scale of the draws."""
        return self._between(0.5)

    def size(self) -> int | None:
        """Number of values: None, more than can be told apart."""
        return None

    def _between(self, share: float) -> float:
        if not self.log:
            return self.low + share * (self.high - self.low)
        low, high = math.log10(self.low), math.log10(self.high)
        return min(max(10 ** (low + share * (high - low)), self.low), self.high)


@dataclass(frozen=True)
class Int:
    """A whole number low, low + step ... high.

    >>> Int(40, 128, step=8).contains(44), Int(40, 128, step=8).size()
    (False, 12)
    """

    low: int
    high: int
    step: int = 1
    log: bool = False

    def __post_init__(self) -> None:
        for number in (self.low, self.high, self.step):
            if not isinstance(number, int) or isinstance(number, bool):
                raise ValueError(f"an int needs whole numbers for low, high and step, got {number!r}")
        _check_range(self.low, self.high, self.log)
        if self.step < 1:
            raise ValueError(f"step is {self.step}, expected at least 1")
        if self.log and self.step != 1:
            raise ValueError(f"log and step {self.step} exclude each other, leave one out")
        if (self.high - self.low) % self.step:
            nearest = self.high - (self.high - self.low) % self.step
            raise ValueError(
                f"high {self.high} is not low {self.low} plus a multiple of step {self.step}, "
                f"the last value would be {nearest}"
            )

    def contains(self, value: object) -> bool:
        """Whether a whole number lies in the range and on the steps."""
        if not isinstance(value, int) or isinstance(value, bool):
            return False
        return self.low <= value <= self.high and (value - self.low) % self.step == 0

    def ends(self) -> tuple[Value, ...]:
        """The extreme values."""
        return (self.low, self.high)

    def sample(self, rng: Random) -> int:
        """A random value."""
        if self.log:  # half a step around the ends, so that they are drawn as often as their neighbours
            low, high = math.log(self.low - 0.5), math.log(self.high + 0.5)
            return min(max(round(math.exp(low + rng.random() * (high - low))), self.low), self.high)
        return rng.randrange(self.low, self.high + 1, self.step)

    def middle(self) -> int:
        """Halfway, on the scale of the draws, rounded to a step."""
        if self.log:
            return round(math.sqrt(self.low * self.high))
        return self.low + (self.high - self.low) // self.step // 2 * self.step

    def size(self) -> int | None:
        """Number of values."""
        return (self.high - self.low) // self.step + 1


@dataclass(frozen=True)
class Categorical:
    """One of several values without an order.

    >>> Categorical(("zero", "tile")).middle()
    'zero'
    """

    choices: tuple[Value, ...]

    def __post_init__(self) -> None:
        if not self.choices:
            raise ValueError("choices is empty, expected at least one value")
        for place, choice in enumerate(self.choices):
            if not isinstance(choice, str | int | float | bool):
                raise ValueError(f"choice {choice!r} is no text, number or true/false")
            if choice in self.choices[:place]:  # 1, 1.0 and True are equal, and would be one choice twice
                raise ValueError(f"choice {choice!r} is given twice")

    def contains(self, value: object) -> bool:
        """Whether the value is a choice; 1 and true are told apart."""
        return any(choice == value and _same_kind(choice, value) for choice in self.choices)

    def ends(self) -> tuple[Value, ...]:
        """Every choice is an end: they have no order."""
        return self.choices

    def sample(self, rng: Random) -> Value:
        """A random choice."""
        return rng.choice(self.choices)

    def middle(self) -> Value:
        """The first choice, which is the one to write the most usual value at."""
        return self.choices[0]

    def size(self) -> int | None:
        """Number of choices."""
        return len(self.choices)


Domain = Float | Int | Categorical


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether a value is a number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def settle(domain: Domain, value: Value) -> Value:
    """The value as the domain would give it: an integer for a Float becomes a float."""
    return float(value) if isinstance(domain, Float) else value


def text(domain: Domain) -> str:
    """A range or list of choices in words, for messages and tables.

    >>> text(Int(40, 128, step=8)), text(Float(1e-4, 1e-2, log=True)), text(Categorical((1, 2)))
    ('40 to 128 by 8', '0.0001 to 0.01 (log)', 'one of 1, 2')
    """
    match domain:
        case Categorical(choices):
            return "one of " + ", ".join(map(show, choices))
        case Int(low, high, step, log):
            return f"{low} to {high}" + (f" by {step}" if step > 1 else "") + (" (log)" if log else "")
        case Float(low, high, log):
            return f"{low:g} to {high:g}" + (" (log)" if log else "")


def show(value: Value) -> str:
    """A value as it is written in a space file.

    >>> show(True), show("pool"), show(0.00013592)
    ('true', 'pool', '0.00013592')
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)


def _same_kind(choice: object, value: object) -> bool:
    return type(choice) is type(value) or (is_number(choice) and is_number(value))


def _check_range(low: float, high: float, log: bool) -> None:
    if low >= high:
        raise ValueError(f"the range from {low:g} to {high:g} is empty, low must be less than high")
    if not isinstance(log, bool):
        raise ValueError(f"log is {log!r}, expected true or false")
    if log and low <= 0:
        raise ValueError(f"log needs a low above 0, got {low:g}")
