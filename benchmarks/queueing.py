"""Workers in virtual time, and the one driver that they wait for."""

import heapq
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from made import EPOCHS


@dataclass
class Waited:
    """Seconds, of all workers together, after the first third of the time."""

    trained: float = 0.0
    waited: float = 0.0
    busy: float = 0.0  # the driver
    span: float = 0.0

    @property
    def idle(self) -> float:
        """Share of the workers' time in which they wait for the driver."""
        return self.waited / (self.trained + self.waited)


@dataclass
class Driver:
    """One queue: whoever comes is served when those before are, and takes as long as was measured."""

    costs: Mapping[str, Sequence[float]]
    chance: random.Random
    free: float = field(default=0.0)

    def serve(self, moment: float, *kinds: str) -> float:
        """When it is done with somebody who comes at a moment."""
        self.free = max(self.free, moment) + sum(self.chance.choice(self.costs[kind]) for kind in kinds)
        return self.free


def simulate(
    costs: Mapping[str, Sequence[float]],
    workers: int,
    length: float,
    epochs: Sequence[int],
    reports: int = 60_000,
) -> Waited:
    """Let workers train in virtual time; each waits until the driver has answered its report.

    costs: measured seconds of the driver by kind; length: mean seconds of an epoch, from 0.5 to 2 times as long from
    recipe to recipe, with 10 % of noise; epochs: lengths of trials, drawn from these.
    """
    chance = random.Random(0)
    driver = Driver(costs, chance)
    left = {worker: chance.randint(1, chance.choice(epochs)) for worker in range(workers)}
    pace = {worker: length * 2 ** chance.uniform(-1, 1) for worker in range(workers)}
    queue = [(chance.random() * pace[worker], worker) for worker in range(workers)]  # under way already
    heapq.heapify(queue)
    counted, began = Waited(), 0.0
    for turn in range(reports):
        moment, worker = heapq.heappop(queue)
        left[worker] -= 1
        before = driver.free
        if left[worker]:
            kinds = ["report" if left[worker] % EPOCHS else "verdict", "tune"]
        else:
            kinds = ["verdict", "proposal", "tune"]
            left[worker], pace[worker] = chance.choice(epochs), length * 2 ** chance.uniform(-1, 1)
        answered = driver.serve(moment, *kinds)
        trains = pace[worker] * chance.gauss(1, 0.1)
        heapq.heappush(queue, (answered + trains, worker))
        if turn == reports // 3:
            began = moment
        if turn >= reports // 3:
            counted.waited += answered - moment
            counted.trained += trains
            counted.busy += answered - max(before, moment)
            counted.span = moment - began
    return counted
