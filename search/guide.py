"""What Optuna is shown of a search: the trials told so far, in a study of Optuna's in memory, and its sampler.

The study holds what the sampler is shown and can be made anew at any time from what was told, so that taking
up 2,000 trials does not cost a study of 2,000 trials, and a proposal after them no more than one after 200.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from spaces.domains import Value
from spaces.space import Space

from .objectives import Objective, front
from .parameters import Parameters
from .samplers import SHOWN, build

if TYPE_CHECKING:
    import optuna

GOOD = 25  # trials at most that TPE takes for good ones, however many there are
SLACK = 50  # trials that end before a study with more than a sampler is to be shown is made anew


class Told(NamedTuple):
    """How a point did. `steps` are the finite scores of the first objective, in order."""

    params: Mapping[str, Value]  # under Optuna's names, in the order of the walk
    outcome: str
    worth: tuple[float, ...] | None
    steps: Mapping[int, float]


@dataclass(eq=False)
class Running:
    """A point whose end was not told yet; its trial in the present study, where there is one."""

    params: Mapping[str, Value]
    trial: "optuna.trial.Trial | None" = None


class Guide:
    """A sampler of Optuna and what it knows. One thread calls it.

    Args:
        space: as the sampler walks through it, see `samplers.searched`.
        startup, sampler, objectives: as for `suggest.Proposer`.
    """

    def __init__(self, space: Space, startup: int, sampler: str, objectives: tuple[Objective, ...]) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._parameters = Parameters(space)
        self._startup, self._sampler, self._objectives = startup, sampler, objectives
        self._told: list[Told] = []
        self._worst: tuple[float, ...] | None = None  # of the complete trials, in each objective
        self._running: dict[Running, None] = {}  # in their order
        self._study: optuna.Study | None = None  # None: made at the next proposal

    def propose(self, seed: int) -> tuple[Running, dict[str, Value]]:
        """A point from the sampler. What it draws depends on the seed and on what was told, not on earlier draws."""
        study = self._study or self._renew(seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", _experimental())
            study.sampler = self._asked(seed)
            trial = study.ask()
            values = self._parameters.draw(trial)
            study.sampler = self._plain
        running = Running(self._parameters.of(values), trial)
        self._running[running] = None
        return running, values

    def begin(self, point: Mapping[str, Value]) -> Running:
        """A point that was not proposed here begins to run."""
        running = Running(self._parameters.of(point))
        if self._study is not None:
            running.trial = self._begin(self._study, running.params)
        self._running[running] = None
        return running

    def drop(self, running: Running) -> None:
        """Forget a point that was proposed."""
        del self._running[running]
        if self._study is not None and running.trial is not None:
            self._study.tell(running.trial, state=_state("failed"))

    def end(
        self,
        running: Running,
        outcome: str,
        worth: tuple[float, ...] | None,
        intermediate: Mapping[int, float],
    ) -> Told:
        """How a running point ended, see `suggest.Proposer.tell`."""
        del self._running[running]
        told = self._note(running.params, outcome, worth, intermediate)
        if self._study is None or running.trial is None:
            return told
        for step, score in self._steps(told).items():
            running.trial.report(score, step)
        for name, excess in self._constraints(told).items():
            running.trial.set_constraint(name, excess)
        state, values = self._ending(told)
        self._study.tell(running.trial, values, state)
        self._ended += 1
        shown = SHOWN[self._sampler]
        if shown is not None and len(self._told) > shown and self._ended >= SLACK:
            self._study = None
        return told

    def amend(
        self, old: Told, outcome: str, worth: tuple[float, ...] | None, intermediate: Mapping[int, float]
    ) -> Told:
        """A point that was thought to have ended came to something else."""
        if self._sampler in ("tpe", "gp"):  # CMA-ES would begin anew; for a grid it changes nothing
            self._study = None
        place = next((at for at, told in enumerate(self._told) if told is old), len(self._told))
        new = self._note(old.params, outcome, worth, intermediate)
        if self._told[-1:] == [new]:
            self._told.insert(place, self._told.pop())
        self._told = [told for told in self._told if told is not old]
        return new

    def learn(
        self,
        point: Mapping[str, Value],
        outcome: str,
        worth: tuple[float, ...] | None,
        intermediate: Mapping[int, float],
    ) -> Told:
        """How a point ended that ran elsewhere."""
        self._study = None
        return self._note(self._parameters.of(point), outcome, worth, intermediate)

    def _note(
        self,
        params: Mapping[str, Value],
        outcome: str,
        worth: tuple[float, ...] | None,
        intermediate: Mapping[int, float],
    ) -> Told:
        assert worth is None or len(worth) == len(self._objectives), worth
        if worth is not None and not all(map(math.isfinite, worth)):
            worth = None
        if outcome == "complete" and worth is None:
            outcome = "failed"
        steps = {step: score for step, score in sorted(intermediate.items()) if math.isfinite(score)}
        told = Told(params, outcome, worth, steps)
        if outcome == "complete" and worth is not None:
            pairs = zip(self._objectives, worth, self._worst or worth, strict=True)
            self._worst = tuple(o.sign * min(o.sign * new, o.sign * old) for o, new, old in pairs)
        if outcome != "failed" or self._sampler == "grid":  # which goes by every point once
            self._told.append(told)
        return told

    # in Optuna's words

    def _renew(self, seed: int) -> "optuna.Study":
        """A study made of what was told."""
        import optuna

        self._ended = 0
        # Points that are given and trials that end do not meet the sampler asked for: a given point would use up
        # a draw of CMA-ES, and brute force wants to stop a loop of Optuna's that does not run here.
        self._plain, self._cmaes = build("random", seed, 0, {}), None
        up, down = optuna.study.StudyDirection.MAXIMIZE, optuna.study.StudyDirection.MINIMIZE
        directions = [up if objective.sign > 0 else down for objective in self._objectives]
        self._study = study = optuna.create_study(directions=directions, sampler=self._plain)
        study.add_trials(map(self._frozen, chosen(self._told, self._objectives, SHOWN[self._sampler])))
        for running in self._running:
            running.trial = self._begin(study, running.params)
        return study

    def _asked(self, seed: int) -> Any:
        """The sampler asked for. CMA-ES begins when there are complete trials, at the best of them, and goes on."""
        if self._sampler != "cmaes":
            return build(self._sampler, seed, self._startup, {})
        complete = [told for told in self._told if told.outcome == "complete"]
        if len(complete) < max(self._startup, 1):
            return build("random", seed, 0, {})
        if self._cmaes is None:
            best = chosen(complete, self._objectives, 1)[0].params
            self._cmaes = build("cmaes", seed, self._startup, best)
        return self._cmaes

    def _begin(self, study: "optuna.Study", params: Mapping[str, Value]) -> "optuna.trial.Trial":
        study.enqueue_trial(dict(params))
        return study.ask({name: self._parameters.distributions[name] for name in params})

    def _frozen(self, told: Told) -> "optuna.trial.FrozenTrial":
        from optuna.trial import create_trial

        state, values = self._ending(told)
        return create_trial(
            params=dict(told.params),
            distributions={name: self._parameters.distributions[name] for name in told.params},
            intermediate_values=dict(self._steps(told)),
            state=state,
            values=values,
            constraints=self._constraints(told),
        )

    def _ending(self, told: Told) -> "tuple[optuna.trial.TrialState, tuple[float, ...] | None]":
        """Optuna's state and values of what was told.

        Its CMA-ES and Gaussian process look at complete trials only, and would propose the place where a trial was
        pruned again and again. For them a pruned trial is complete with what it had come to, and an infeasible
        one with the worst that is known.
        """
        if told.outcome == "complete":
            return _state("complete"), told.worth
        if self._sampler in ("cmaes", "gp") and told.outcome in ("pruned", "infeasible"):
            so_far = told.worth or tuple(self._steps(told).values())[-1:]
            worth = so_far if told.outcome == "pruned" and so_far else self._worst
            if worth:
                return _state("complete"), worth
        return _state(told.outcome), None

    def _steps(self, told: Told) -> Mapping[int, float]:
        """Optuna takes intermediate values with one objective only."""
        return told.steps if len(self._objectives) == 1 else {}

    def _constraints(self, told: Told) -> dict[str, float]:
        """For TPE, to which a trial that breaks a constraint is worse than all others, whatever its state."""
        return {"trainable": 1.0} if told.outcome == "infeasible" and self._sampler == "tpe" else {}


def chosen(told: Sequence[Told], objectives: Sequence[Objective], count: int | None) -> Sequence[Told]:
    """At most so many trials, in their order: the best, the latest infeasible, and the latest of the others.

    With several objectives the best are the Pareto front, then the front of the others, and so on.
    """
    if count is None or len(told) <= count:
        return told
    left = {at: end.worth for at, end in enumerate(told) if end.outcome == "complete" and end.worth}
    good: list[int] = []
    if len(objectives) == 1:
        good = sorted(left, key=lambda at: objectives[0].sign * left[at][0], reverse=True)
    while len(objectives) > 1 and left and len(good) < GOOD:
        layer = front(left, objectives)
        good += _spread(layer, GOOD - len(good))
        left = {at: worth for at, worth in left.items() if at not in layer}
    bad = [at for at, end in enumerate(told) if end.outcome == "infeasible"]
    first = [*good[:GOOD], *bad[-GOOD:], *range(len(told) - 1, -1, -1)]
    return [told[at] for at in sorted(list(dict.fromkeys(first))[:count])]


def _spread(layer: list[int], count: int) -> list[int]:
    """So many of a front, evenly from one end to the other."""
    if len(layer) <= count:
        return layer
    return [layer[round(turn * (len(layer) - 1) / max(count - 1, 1))] for turn in range(count)]


def _state(outcome: str) -> "optuna.trial.TrialState":
    from optuna.trial import TrialState

    if outcome == "infeasible":
        return TrialState.PRUNED
    return {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}[outcome]


def _experimental() -> type[Warning]:
    from optuna.exceptions import ExperimentalWarning

    return ExperimentalWarning
