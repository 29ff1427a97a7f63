"""Learning-rate schedules: pure functions of progress in [0, 1], giving a factor of the peak rate.

They know no optimiser, and epochs only as a length, so a stopped run is a truncated long run and never a short
one. `plateau` alone looks back: how often it dropped is counted by `Plateau` and handed in.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from .checks import one_of, within

WARM_START = 0.1  # factor at the first step of a warm-up: EnvNet-v2 and ACDNet warm up at a tenth of the rate
ONECYCLE_START = 1 / 25  # Smith 2018 and torch's OneCycleLR
BETTER = 1e-4  # plateau: a loss counts as lower if it is by this share (torch's ReduceLROnPlateau)
ROUNDING = 1e-9  # an epoch's first step has begun that epoch, however its progress was rounded


@dataclass(frozen=True)
class ScheduleConfig:
    """How the learning rate moves over a run. Every schedule stays within [0, 1] of `optim.lr`.

    Settings of the literature (`shared/reference/recipes.md` 2.1): EnvNet-v2 and ACDNet are step with
    at "0.3,0.6,0.9"; the fine-tuned image nets step with every_epochs 30.
    """

    name: str = "cosine"  # constant, step, cosine, onecycle, exponential, linear or plateau
    warmup: float = 0.05  # share of all steps with a linear rise; onecycle rises by itself and ignores it
    floor: float = 0.01  # factor at the end of cosine, onecycle, exponential and linear
    every: float = 0.33  # step: share of what follows the warm-up after which the rate drops, again and again
    at: str = ""  # step, instead of `every`: shares of the whole run at which the rate drops, "0.3,0.6,0.9"
    every_epochs: int = 0  # step, instead of `every`: epochs after which the rate drops, again and again
    gamma: float = 0.1  # step, plateau: factor of each drop
    peak: float = 0.3  # onecycle: share of the run where the peak lies
    patience: int = 5  # plateau: epochs without a lower validation loss that are borne before a drop

    def __post_init__(self) -> None:
        one_of("schedule", self.name, sorted(SCHEDULES))
        within("schedule.warmup", self.warmup, 0.0, 0.5)
        within("schedule.floor", self.floor, 0.0, 1.0)
        within("schedule.every", self.every, 0.01, 1.0)
        within("schedule.every_epochs", self.every_epochs, 0, 10_000)
        within("schedule.gamma", self.gamma, 0.0, 1.0)
        within("schedule.peak", self.peak, 0.01, 0.99)
        within("schedule.patience", self.patience, 0, 1000)
        _shares(self.at)
        if self.at and self.every_epochs:
            raise ValueError(
                f"schedule.at is {self.at!r} and schedule.every_epochs is {self.every_epochs}, expected one of the "
                "two: leave schedule.at empty or set schedule.every_epochs to 0"
            )
        if self.name == "exponential" and self.floor == 0.0:
            raise ValueError(
                "schedule.floor is 0.0, expected more than 0 with schedule: exponential, which falls by equal factors"
            )


class Moment(NamedTuple):
    """Where a run stands."""

    whole: float  # share of all steps already done
    rest: float  # share of the steps after the warm-up already done; 0 during the warm-up
    epochs: int  # of the whole run
    drops: int  # plateau: times that the validation loss stalled


def constant(now: Moment, config: ScheduleConfig) -> float:
    """The peak rate throughout."""
    return 1.0


def step(now: Moment, config: ScheduleConfig) -> float:
    """Times `gamma` at the shares `at` of the run, every so many epochs of it, or after each share `every`.

    every 1/3 and gamma 0.1 is the seed net's x0.1 every 20 of 60 epochs.
    """
    if config.at:
        drops = sum(now.whole >= share - ROUNDING for share in _shares(config.at))
    elif config.every_epochs:
        drops = math.floor(now.whole * now.epochs / config.every_epochs + ROUNDING)
    else:
        most = (
            math.ceil(1 / config.every - 0.1) - 1
        )  # a remainder under a tenth of a stage (0.33!) is no stage
        drops = min(most, math.floor(now.rest / config.every + ROUNDING))
    return config.gamma**drops


def cosine(now: Moment, config: ScheduleConfig) -> float:
    """Half a cosine from 1 down to `floor`."""
    return _ease(1.0, config.floor, now.rest)


def onecycle(now: Moment, config: ScheduleConfig) -> float:
    """Half a cosine up to 1 at `peak`, half a cosine down to `floor` (Smith 2018, as in torch's OneCycleLR)."""
    if now.whole < config.peak:
        return _ease(ONECYCLE_START, 1.0, now.whole / config.peak)
    return _ease(1.0, config.floor, (now.whole - config.peak) / (1 - config.peak))


def exponential(now: Moment, config: ScheduleConfig) -> float:
    """The same factor at every step, `floor` at the end (a factor g per epoch over n epochs: floor = g**n)."""
    return config.floor**now.rest


def linear(now: Moment, config: ScheduleConfig) -> float:
    """A straight line from 1 down to `floor`."""
    return 1.0 + (config.floor - 1.0) * now.rest


def plateau(now: Moment, config: ScheduleConfig) -> float:
    """Times `gamma` for each time that the validation loss stalled, see `Plateau`."""
    return config.gamma**now.drops


def _ease(start: float, end: float, progress: float) -> float:
    return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * progress))


@cache
def _shares(text: str) -> tuple[float, ...]:
    """The numbers of `schedule.at`; ValueError unless they rise between 0 and 1."""
    try:
        shares = tuple(float(part) for part in text.split(",")) if text else ()
    except ValueError:
        shares = (math.nan,)
    edges = (0.0, *shares, 1.0)
    if not all(low < high for low, high in zip(edges, edges[1:], strict=False)):
        raise ValueError(
            f"schedule.at is {text!r}, expected rising shares of the run between 0 and 1 with commas between them, "
            "such as '0.3,0.6,0.9'"
        )
    return shares


SCHEDULES: dict[str, Callable[[Moment, ScheduleConfig], float]] = {
    "constant": constant,
    "step": step,
    "cosine": cosine,
    "onecycle": onecycle,
    "exponential": exponential,
    "linear": linear,
    "plateau": plateau,
}


def rate(config: ScheduleConfig, progress: float, *, epochs: int, drops: int = 0) -> float:
    """Factor of the peak learning rate at `progress` (share of all steps already done, in [0, 1]).

    The warm-up rises linearly from a tenth and hands over to the schedule, which runs over the rest.

    Args:
        config: which schedule.
        progress: share of all steps of the run already done.
        epochs: length of the run that `progress` is a share of; only `every_epochs` asks for it.
        drops: what `Plateau.observe` said last; only plateau asks for it.
    """
    assert 0.0 <= progress <= 1.0, f"progress is {progress}"
    warmup = 0.0 if config.name == "onecycle" else config.warmup
    rise = WARM_START + (1.0 - WARM_START) * progress / warmup if progress < warmup else 1.0
    rest = max(0.0, (progress - warmup) / (1.0 - warmup))
    return rise * SCHEDULES[config.name](Moment(progress, rest, epochs, drops), config)


class Plateau:
    """Counts how often the validation loss stalled (as torch's ReduceLROnPlateau: mode min, relative threshold)."""

    def __init__(self, config: ScheduleConfig) -> None:
        self.patience = config.patience
        self.best, self.stalled, self.drops = math.inf, 0, 0

    def observe(self, valid_loss: float) -> int:
        """Take in the loss of one more epoch; the number of drops so far."""
        if valid_loss < self.best * (1.0 - BETTER):
            self.best, self.stalled = valid_loss, 0
        else:
            self.stalled += 1
        if self.stalled > self.patience:
            self.stalled, self.drops = 0, self.drops + 1
        return self.drops
