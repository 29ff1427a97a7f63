"""Optuna's samplers by name: what each needs of a space, and how it is made."""

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from spaces.domains import Categorical, Domain, Float, Value, text
from spaces.space import Level, Space, below, every, size

from .objectives import Objective

SAMPLERS = ("tpe", "random", "grid", "cmaes", "gp")
GRID = 4096  # points of the largest grid
ELSE = "or take --sampler tpe"

# Finished trials that a sampler is shown, the best and the latest of them; None is all. TPE reads all of them
# again for every group of knobs that a point opens: in esc50 `ask` takes 21 ms after 100 trials, 58 ms after 500,
# 257 ms after 2,000, and 30 ms shown 200 of them (2 cores). Over 500 proposals on a made-up landscape over esc50,
# shown 200 to 250 it found as good points as shown all (two seeds: best 0.8186 and 0.8168 against 0.8176 and
# 0.8136, mean of the last hundred 0.8075 and 0.8043 against 0.8095 and 0.8040). A Gaussian process costs the cube.
# CMA-ES keeps its state in its trials, and a grid has to know every point.
SHOWN: Mapping[str, int | None] = {"tpe": 200, "random": 200, "grid": None, "cmaes": None, "gp": 200}


def searched(space: Space, sampler: str, objectives: Sequence[Objective]) -> Space:
    """The space as a sampler walks through it: itself, but for a grid, where a range has three values.

    Raises:
        ValueError: an unknown sampler, or one that this space or so many objectives do not allow.
    """
    match sampler:
        case "tpe" | "random":
            return space
        case "grid":
            return _grid(space)
        case "cmaes":
            _check_numeric(space)
            if len(objectives) > 1:
                asked = ",".join(map(str, objectives))
                raise ValueError(
                    f"the sampler cmaes knows one objective and {asked} are {len(objectives)}: "
                    f"leave all but {objectives[0]} out {ELSE}"
                )
            return space
        case "gp":
            _check_unconditional(space.root, "")
            return space
    raise ValueError(f"unknown sampler {sampler!r}, known: {', '.join(SAMPLERS)}")


def build(sampler: str, seed: int, startup: int, best: Mapping[str, Value]) -> Any:
    """A sampler of Optuna.

    Args:
        startup: random trials before it begins to model.
        best: parameters of the best known trial, where cmaes begins.
    """
    from optuna import samplers
    from optuna.exceptions import ExperimentalWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # group, brute force, margin
        match sampler:
            case "tpe":
                from .open_tpe import OpenTPE

                return OpenTPE(
                    seed=seed, n_startup_trials=startup, multivariate=True, group=True, constant_liar=True
                )
            case "grid":
                return samplers.BruteForceSampler(seed=seed)
            case "cmaes":
                warnings.simplefilter("ignore", FutureWarning)  # x0 is to go in Optuna 6
                return samplers.CmaEsSampler(
                    seed=seed,
                    x0=dict(best),
                    with_margin=True,  # whole numbers go on to vary when the spread is less than a step
                    warn_independent_sampling=False,
                )
            case "gp":
                # It says on the terminal that it would be faster with greenlet: 0.1 s a proposal without.
                logging.getLogger("optuna._gp.batched_lbfgsb").setLevel(logging.ERROR)
                return samplers.GPSampler(
                    seed=seed, n_startup_trials=startup, warn_independent_sampling=False
                )
    return samplers.RandomSampler(seed=seed)


def _grid(space: Space) -> Space:
    grid = replace(space, root=_gridded(space.root), defaults=())
    count = size(grid)
    assert count is not None  # no range is left
    if count > GRID:
        raise ValueError(
            f"a grid over {space.name} has {count} points, at most {GRID} are possible: "
            f"fix knobs with --set KNOB=VALUE or take another sampler"
        )
    return grid


def _gridded(level: Level) -> Level:
    """A level with its ranges cut down to their low end, middle and high end."""
    knobs = {
        name: Categorical(tuple(dict.fromkeys((knob.low, knob.middle(), knob.high))))
        if isinstance(knob, Float)
        else knob
        for name, knob in level.knobs.items()
    }
    branches = {
        name: {choice: _gridded(arm) for choice, arm in arms.items()} for name, arms in level.branches.items()
    }
    return Level(knobs, branches)


def _check_numeric(space: Space) -> None:
    """Refuse a space with a knob that CMA-ES cannot draw, or with less than two that it can."""
    drawn = list(_drawn(space.root))
    for knob, domain, _ in drawn:
        if isinstance(domain, Categorical):
            raise ValueError(
                f"the sampler cmaes draws numbers from ranges only and {knob} is {text(domain)}: "
                f"fix it with --set {knob}=VALUE {ELSE}"
            )
    if len(drawn) < 2:
        raise ValueError(
            f"the sampler cmaes needs two open knobs and {space.name} has {len(drawn)}: "
            f"open another in the space {ELSE}"
        )


def _check_unconditional(level: Level, path: str) -> None:
    """Refuse a space where some points leave a drawn knob out."""
    for branch, arms in level.branches.items():
        for choice, arm in arms.items():
            inside = below(path, branch, choice)
            if len(arms) == 1:
                _check_unconditional(arm, inside)
            elif found := next(_drawn(arm, inside), None):
                raise ValueError(
                    f"the sampler gp needs every knob open at every point and {found[0]} is open only with "
                    f"{found[2]}: fix {branch} with --set {branch}=VALUE {ELSE}"
                )


def _drawn(level: Space | Level, path: str = "") -> Iterator[tuple[str, Domain, str]]:
    """(name, domain, path) of every knob with more than one value."""
    for name, domain, inside in every(level, path):
        if isinstance(domain, Domain) and domain.size() != 1:
            yield name, domain, inside
