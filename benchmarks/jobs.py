"""Rows of the pruning benchmark: a policy under some conditions, replayed many times on all cores."""

import math
import multiprocessing
import os
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from curves import TABLE, Curves, load
from orders import Proposed, Shuffled
from replay import Engine, Judge, Oracle, Order, Replay, replay

import spaces.load
from search.pruning import Policy

SPACE = Path(__file__).with_name("pruning.yaml")
CHUNK = 5  # replays handed to a process at once


@dataclass(frozen=True)
class Job:
    """One row: a policy under some conditions, in many replays."""

    policy: Policy
    oracle: bool = False
    order: str = "random"  # or TPE
    workers: int = 1
    first: bool = True  # the race acts at the end of the first split too
    recipes: float = 1.0  # share of them, drawn anew in every replay
    shuffled: bool = False  # splits in another order in every replay
    half: tuple[int, int] | None = None  # a partition of the recipes, and which half of it


@dataclass(frozen=True)
class Summary:
    """Means over the replays."""

    cost: float
    regret: float
    near: float  # share of replays that end within one point of the best
    reached: float  # cost until then, of these replays

    @classmethod
    def of(cls, replays: Sequence[Replay]) -> "Summary":
        """Of one row."""
        reached = [one.reached for one in replays if one.reached is not None]
        return cls(
            statistics.fmean(one.cost for one in replays),
            statistics.fmean(one.regret for one in replays),
            len(reached) / len(replays),
            statistics.fmean(reached) if reached else math.nan,
        )

    def cells(self) -> tuple[str, ...]:
        """As in the tables."""
        return (percent(self.cost), f"{self.regret:.2f}", f"{self.near:.0%}", percent(self.reached))


@cache
def recorded() -> Curves:
    """The table, once a process."""
    return load(TABLE)


def seen(job: Job, seed: int) -> Curves:
    """The curves as one replay of a job sees them."""
    curves, rng = recorded(), np.random.default_rng((seed, 1))
    count = len(curves.recipes)
    if job.half is not None:
        partition, side = job.half
        curves = curves.some(
            np.array_split(np.random.default_rng(partition).permutation(count), 2)[side].tolist()
        )
    if job.recipes < 1:
        curves = curves.some(rng.permutation(count)[: round(count * job.recipes)].tolist())
    return curves.in_order(rng.permutation(curves.shape[1]).tolist()) if job.shuffled else curves


def once(job: Job, seed: int) -> Replay:
    """One replay."""
    curves = seen(job, seed)
    judge: Judge = Oracle(curves, job.policy) if job.oracle else Engine(curves, job.policy, first=job.first)
    tpe = job.order == "TPE"
    order: Order = Proposed(curves, seed, spaces.load.load(SPACE)) if tpe else Shuffled(curves, seed)
    queue = 0 if job.oracle or not job.policy.races else job.policy.queue
    return replay(curves, judge, order, job.workers, queue=queue)


def chunk(task: tuple[Job, range]) -> tuple[Job, list[Replay]]:
    """Some replays of a job, for a process of the pool."""
    job, seeds = task
    return job, [once(job, seed) for seed in seeds]


def run(jobs: Sequence[Job], replays: int) -> dict[Job, Summary]:
    """All jobs, on all cores."""
    tasks = [(job, range(at, min(at + CHUNK, replays))) for job in jobs for at in range(0, replays, CHUNK)]
    found: dict[Job, list[Replay]] = defaultdict(list)
    with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
        for job, done in pool.imap(chunk, tasks):
            found[job] += done
            if len(found[job]) == replays:
                print(len(found), "of", len(jobs), *Summary.of(found[job]).cells(), sep=" | ", flush=True)
    return {job: Summary.of(found[job]) for job in jobs}


def percent(share: float) -> str:
    """A share of the epochs.

    >>> percent(0.1961)
    '19.6 %'
    """
    return f"{100 * share:.1f} %"
