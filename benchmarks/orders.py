"""Where the next recipe of a replayed search comes from: chance, or the engine's own sampler.

Shape letters: R recipes, K knobs that are drawn.
"""

import math
import random
from collections.abc import Callable

import numpy as np
from curves import Curves

from search.guide import Guide, Running, Told
from search.objectives import ACCURACY
from spaces.domains import Categorical, Domain, Float, Int, Value
from spaces.space import Space, Values, every

STARTUP = 10  # random trials before TPE begins to model, as in the engine


class Shuffled:
    """A random order."""

    def __init__(self, curves: Curves, seed: int) -> None:
        order = np.random.default_rng(seed).permutation(len(curves.recipes))
        self._rest = [int(recipe) for recipe in order[::-1]]

    def next(self) -> int | None:
        """The next one."""
        return self._rest.pop() if self._rest else None

    def tell(self, recipe: int, objective: float | None, scores: dict[int, float]) -> None:
        """Chance does not learn."""


class Proposed:
    """The engine's TPE asks for a point; the nearest recorded recipe that was not tried yet is tried instead, and the
    sampler is told what became of that one.

    Distance is the sum over knobs: of a number, the difference as a share of its range (in logarithms where it is
    drawn so); 1 for another choice, and for a knob that only one of the two has.
    """

    def __init__(self, curves: Curves, seed: int, space: Space) -> None:
        self._recipes, self._seed = curves.recipes, seed
        self._guide = Guide(space, STARTUP, "tpe", ACCURACY)
        self._columns = {name: domain for name, domain, _ in every(space) if isinstance(domain, Domain)}
        self._choice_K = np.array([isinstance(domain, Categorical) for domain in self._columns.values()])
        self._place_RK = np.array([self._place(values) for values in curves.recipes])
        self._left_R = np.ones(len(curves.recipes), bool)
        self._running: dict[int, Running] = {}  # by recipe
        self._told: dict[int, Told] = {}  # by recipe

    def next(self) -> int | None:
        """The nearest of those that are left to what the sampler asks for."""
        if not self._left_R.any():
            return None
        chance = random.Random(f"{self._seed}, {len(self._left_R) - self._left_R.sum()}")
        asked, wanted = self._guide.propose(chance.getrandbits(32))
        self._guide.drop(asked)
        recipe = int(np.where(self._left_R, self._apart(wanted), np.inf).argmin())
        self._left_R[recipe] = False
        self._running[recipe] = self._guide.begin(self._recipes[recipe])
        return recipe

    def tell(self, recipe: int, objective: float | None, scores: dict[int, float]) -> None:
        """The sampler learns of it, as it does in the engine."""
        outcome, worth = ("pruned", None) if objective is None else ("complete", (objective,))
        if recipe in self._running:
            self._told[recipe] = self._guide.end(self._running.pop(recipe), outcome, worth, scores)
        else:  # it had been held back, or is stopped in the queue
            self._told[recipe] = self._guide.amend(self._told[recipe], outcome, worth, scores)

    def _place(self, values: Values) -> list[float]:
        """Where a point lies, by knob; NaN where a knob is closed."""
        known = self._columns.items()
        return [_share(domain, values[name]) if name in values else math.nan for name, domain in known]

    def _apart(self, values: Values) -> np.ndarray:
        """How far every recipe is from a point, [R]."""
        place_K = np.array(self._place(values))
        apart_RK = np.abs(self._place_RK - place_K)
        apart_RK[:, self._choice_K] = np.sign(apart_RK[:, self._choice_K])
        closed_RK = np.isnan(self._place_RK) != np.isnan(place_K)
        return np.where(closed_RK, 1.0, np.nan_to_num(apart_RK)).sum(axis=1)


def _share(domain: Domain, value: Value) -> float:
    """Where a value lies in its domain: 0..1 of a range, the place of a choice."""
    match domain:
        case Categorical(choices):
            return float(choices.index(value))
        case Float(low, high, log) | Int(low, high, _, log):
            scale: Callable[[float], float] = math.log if log else float
            return (scale(float(value)) - scale(low)) / ((scale(high) - scale(low)) or 1.0)
