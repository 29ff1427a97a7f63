"""Learning-rate schedules: pure functions of progress in [0, 1], giving a factor of the peak rate.

They know neither epochs nor optimiser, so a stopped run is a truncated long run and never a short one.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from .checks import one_of, within

WARM_START = 0.1  # factor at the first step of a warm-up: EnvNet-v2 and ACDNet warm up at a tenth of the rate
ONECYCLE_START = 1 / 25  # Smith 2018 and torch's OneCycleLR


@dataclass(frozen=True)
class ScheduleConfig:
    """How the learning rate moves over a run. Every schedule stays within [0, 1] of `optim.lr`."""

    name: str = "cosine"  # constant, step, cosine or onecycle
    warmup: float = 0.05  # share of all steps with a linear rise; onecycle rises by itself and ignores it
    floor: float = 0.01  # factor at the end of cosine and onecycle
    every: float = 0.33  # step: share of the run after which the rate drops, again and again
    gamma: float = 0.1  # step: factor of each drop
    peak: float = 0.3  # onecycle: share of the run where the peak lies

    def __post_init__(self) -> None:
        one_of("schedule", self.name, sorted(SCHEDULES))
        within("schedule.warmup", self.warmup, 0.0, 0.5)
        within("schedule.floor", self.floor, 0.0, 1.0)
        within("schedule.every", self.every, 0.01, 1.0)
        within("schedule.gamma", self.gamma, 0.0, 1.0)
        within("schedule.peak", self.peak, 0.01, 0.99)


def constant(progress: float, config: ScheduleConfig) -> float:
    """The peak rate throughout."""
    return 1.0


def step(progress: float, config: ScheduleConfig) -> float:
    """Times `gamma` after each share `every` of the run (1/3 and 0.1: the seed net's x0.1 every 20 of 60 epochs)."""
    most = math.ceil(1 / config.every - 0.1) - 1  # a remainder under a tenth of a stage (0.33!) is no stage
    return config.gamma ** min(most, math.floor(progress / config.every + 1e-9))


def cosine(progress: float, config: ScheduleConfig) -> float:
    """Half a cosine from 1 down to `floor`."""
    return _ease(1.0, config.floor, progress)


def onecycle(progress: float, config: ScheduleConfig) -> float:
    """Half a cosine up to 1 at `peak`, half a cosine down to `floor` (Smith 2018, as in torch's OneCycleLR)."""
    if progress < config.peak:
        return _ease(ONECYCLE_START, 1.0, progress / config.peak)
    return _ease(1.0, config.floor, (progress - config.peak) / (1 - config.peak))


def _ease(start: float, end: float, progress: float) -> float:
    return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * progress))


SCHEDULES: dict[str, Callable[[float, ScheduleConfig], float]] = {
    "constant": constant,
    "step": step,
    "cosine": cosine,
    "onecycle": onecycle,
}


def rate(config: ScheduleConfig, progress: float) -> float:
    """Factor of the peak learning rate at `progress` (share of all steps already done, in [0, 1]).

    The warm-up rises linearly from a tenth and hands over to the schedule, which runs over the rest.
    """
    assert 0.0 <= progress <= 1.0, f"progress is {progress}"
    warmup = 0.0 if config.name == "onecycle" else config.warmup
    if progress < warmup:
        return WARM_START + (1.0 - WARM_START) * progress / warmup
    return SCHEDULES[config.name]((progress - warmup) / (1.0 - warmup), config)
