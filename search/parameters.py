"""The knobs of a space as parameters of Optuna.

Optuna sees a trial through our `walk` (define by run), so only open knobs are its parameters. Fixed knobs are
none. A knob whose range differs from arm to arm is one parameter per arm: Optuna wants one range a name.
"""

from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from spaces.domains import Categorical, Domain, Float, Int, Value
from spaces.space import Space, every, place, walk

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution


class Parameters:
    """The parameters of one space; `distributions` has each under its name in Optuna."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self._several = several(space)
        self.distributions: Mapping[str, BaseDistribution] = {
            self._name(knob, path): distribution(domain)
            for knob, domain, path in every(space)
            if isinstance(domain, Domain)
        }

    def of(self, point: Mapping[str, Value]) -> dict[str, Value]:
        """What is drawn at a point of the space, in the order of the walk."""
        params: dict[str, Value] = {}

        def note(knob: str, domain: Domain, path: str) -> Value:
            params[self._name(knob, path)] = point[knob]
            return point[knob]

        walk(self._space, note)
        return params

    def draw(self, trial: "optuna.trial.Trial") -> dict[str, Value]:
        """The point that a trial of Optuna suggests."""

        def suggest(knob: str, domain: Domain, path: str) -> Value:
            name = self._name(knob, path)
            match domain:
                case Float(low, high, log):
                    return trial.suggest_float(name, low, high, log=log)
                case Int(low, high, step, log):
                    return trial.suggest_int(name, low, high, step=step, log=log)
                case Categorical(choices):
                    choice: Any = trial.suggest_categorical(name, choices)
                    return choice

        return walk(self._space, suggest)

    def _name(self, knob: str, path: str) -> str:
        return place(knob, path) if knob in self._several else knob


def several(space: Space) -> frozenset[str]:
    """Knobs that have unequal domains in different arms."""
    domains: dict[str, set[Domain]] = defaultdict(set)
    for knob, domain, _ in every(space):
        if isinstance(domain, Domain):
            domains[knob].add(domain)
    return frozenset(knob for knob, found in domains.items() if len(found) > 1)


def distribution(domain: Domain) -> "BaseDistribution":
    """A domain in Optuna's words."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    match domain:
        case Float(low, high, log):
            return FloatDistribution(low, high, log=log)
        case Int(low, high, step, log):
            return IntDistribution(low, high, log=log, step=step)
        case Categorical(choices):
            return CategoricalDistribution(choices)
