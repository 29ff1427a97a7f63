"""Optuna, met here only: it proposes points of a Space, is told how they did, and learns of earlier sessions.

Optuna sees a trial through our `walk` (define by run), so only open knobs are its parameters. Fixed knobs are
none. A knob whose range differs from arm to arm is one parameter per arm: Optuna wants one range a name.
"""

import math
import random
import warnings
from collections import defaultdict, deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from spaces.domains import Categorical, Domain, Float, Int, Value
from spaces.space import (
    PointError,
    Space,
    complete,
    every,
    place,
    sample,
    walk,
)

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

MODELLED = 5  # tries of the sampler to find a new point, before a random one is looked for
DRAWN = 300  # random points that are looked through
SAMPLERS = ("tpe", "random")
OUTCOMES = ("complete", "pruned", "failed")


class Proposer:
    """Proposes values, best guess after best guess. One thread calls it.

    Args:
        seed: equal seeds and equal answers give equal proposals.
        startup: random proposals before the sampler begins to model.
        sampler: "tpe" (multivariate, grouped by open knobs, aware of what is running) or "random".

    Raises:
        ValueError: an unknown sampler.
    """

    def __init__(self, space: Space, *, seed: int, startup: int = 10, sampler: str = "tpe") -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._space, self._seed, self._startup, self._sampler = space, seed, startup, sampler
        self._study = optuna.create_study(direction="maximize", sampler=_sampler(sampler, seed, startup))
        self._open: dict[int, optuna.trial.Trial] = {}  # by proposal
        self._next = 0
        self._replayed = 0
        self._rng = random.Random(seed)
        self._seen: set[frozenset[tuple[str, Value]]] = set()  # points that were asked or replayed
        self._firsts = deque(complete(space, default) for default in space.defaults)
        self._several = _several(space)

    def ask(self) -> tuple[int, dict[str, Value]]:
        """A number for the proposal and its values, fixed knobs included. The defaults come first.

        A sampler on a small space comes back to its best points again and again; then a point that was never
        asked is drawn at random. Only when none is found does an old one come again.
        """
        if self._firsts:
            return self._begin(self._firsts.popleft())
        for _ in range(MODELLED):
            known = len(self._seen)
            proposal, values = self._begin({})
            if len(self._seen) > known:
                return proposal, values
            self.tell(proposal, "failed", None, {})
        drawn = (sample(self._space, self._rng) for _ in range(DRAWN))
        return self._begin(next((point for point in drawn if _identity(point) not in self._seen), values))

    def tell(
        self, proposal: int, outcome: str, value: float | None, intermediate: Mapping[int, float]
    ) -> None:
        """How a proposal ended.

        Args:
            outcome: "complete" with its objective, "pruned" or "failed".
            value: the objective, to be maximised.
            intermediate: the objective so far by step; what a pruned trial is judged by.
        """
        trial = self._open.pop(proposal, None)
        if trial is None:  # values of a space that has changed since
            return
        for step, score in sorted(intermediate.items()):
            if math.isfinite(score):
                trial.report(score, step)
        state, value = _ending(outcome, value)
        self._study.tell(trial, value, state)

    def replay(
        self,
        values: Mapping[str, Value],
        outcome: str,
        value: float | None,
        intermediate: Mapping[int, float],
    ) -> int:
        """Take up a trial of an earlier session: its proposal number.

        outcome: as for `tell`, or "running": it is told later. Defaults that were tried are not asked again.
        Values that are no point of the space (it has changed since) get a number and teach nothing.
        """
        self._replayed += 1  # go on with other random numbers: the old ones would give the old proposals
        seed = random.Random(f"{self._seed}, {self._replayed}").getrandbits(32)
        self._rng, self._study.sampler = random.Random(seed), _sampler(self._sampler, seed, self._startup)
        try:
            point = complete(self._space, values)
        except PointError:
            return self._number(None)
        if point in self._firsts:
            self._firsts.remove(point)
        self._seen.add(_identity(point))
        if outcome == "running":
            return self._begin(point)[0]
        self._study.add_trial(self._history(point, outcome, value, intermediate))
        return self._number(None)

    def _history(
        self, point: Mapping[str, Value], outcome: str, value: float | None, intermediate: Mapping[int, float]
    ) -> "optuna.trial.FrozenTrial":
        from optuna.trial import create_trial

        finite = {step: score for step, score in intermediate.items() if math.isfinite(score)}
        state, value = _ending(outcome, value)
        drawn = self._drawn(point)
        return create_trial(
            params={name: value for name, (value, _) in drawn.items()},
            distributions={name: _distribution(domain) for name, (_, domain) in drawn.items()},
            intermediate_values=finite,
            state=state,
            value=value,
        )

    def _number(self, trial: "optuna.trial.Trial | None") -> int:
        """The number of a new proposal; it can be told if it has a trial."""
        if trial is not None:
            self._open[self._next] = trial
        self._next += 1
        return self._next - 1

    def _begin(self, fixed: Mapping[str, Value]) -> tuple[int, dict[str, Value]]:
        """A running trial of Optuna, with the values given or, where none are, those that it proposes."""
        if fixed:
            self._study.enqueue_trial({name: value for name, (value, _) in self._drawn(fixed).items()})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", _experimental())
            trial = self._study.ask()
            values = walk(self._space, lambda name, domain, path: self._suggest(trial, name, domain, path))
        self._seen.add(_identity(values))
        return self._number(trial), values

    def _drawn(self, values: Mapping[str, Value]) -> dict[str, tuple[Value, Domain]]:
        """What is drawn at a point, under Optuna's names."""
        drawn: dict[str, tuple[Value, Domain]] = {}

        def note(knob: str, domain: Domain, path: str) -> Value:
            drawn[self._name(knob, path)] = (values[knob], domain)
            return values[knob]

        walk(self._space, note)
        return drawn

    def _name(self, knob: str, path: str) -> str:
        return place(knob, path) if knob in self._several else knob

    def _suggest(self, trial: "optuna.trial.Trial", knob: str, domain: Domain, path: str) -> Value:
        name = self._name(knob, path)
        match domain:
            case Float(low, high, log):
                return trial.suggest_float(name, low, high, log=log)
            case Int(low, high, step, log):
                return trial.suggest_int(name, low, high, step=step, log=log)
            case Categorical(choices):
                choice: Any = trial.suggest_categorical(name, choices)
                return choice


def _distribution(domain: Domain) -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    match domain:
        case Float(low, high, log):
            return FloatDistribution(low, high, log=log)
        case Int(low, high, step, log):
            return IntDistribution(low, high, log=log, step=step)
        case Categorical(choices):
            return CategoricalDistribution(choices)


def _identity(values: Mapping[str, Value]) -> frozenset[tuple[str, Value]]:
    return frozenset(values.items())


def _ending(outcome: str, value: float | None) -> "tuple[optuna.trial.TrialState, float | None]":
    """Optuna's state and value of an outcome; a complete trial without a finite value has failed."""
    from optuna.trial import TrialState

    assert outcome in OUTCOMES, outcome
    if outcome == "complete" and value is not None and math.isfinite(value):
        return TrialState.COMPLETE, value
    return TrialState.PRUNED if outcome == "pruned" else TrialState.FAIL, None


def _sampler(name: str, seed: int, startup: int) -> Any:
    import optuna

    if name not in SAMPLERS:
        raise ValueError(f"unknown sampler {name!r}, known: {', '.join(SAMPLERS)}")
    if name == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", _experimental())
        return optuna.samplers.TPESampler(
            seed=seed, n_startup_trials=startup, multivariate=True, group=True, constant_liar=True
        )


def _experimental() -> type[Warning]:
    from optuna.exceptions import ExperimentalWarning

    return ExperimentalWarning


def _several(space: Space) -> frozenset[str]:
    """Knobs that have unequal domains in different arms."""
    domains: dict[str, set[Domain]] = defaultdict(set)
    for name, domain, _ in every(space):
        if isinstance(domain, Domain):
            domains[name].add(domain)
    return frozenset(name for name, found in domains.items() if len(found) > 1)
