"""The proposer of a search: tries and defaults first, then what a sampler of Optuna proposes, nothing twice."""

import random
from collections import deque
from collections.abc import Iterator, Mapping, Sequence

from spaces.domains import Value, show
from spaces.space import PointError, Space, complete, contains, sample, taken, walk

from .guide import Guide, Running, Told
from .objectives import ACCURACY, Objective
from .samplers import SAMPLERS, searched

__all__ = ["OUTCOMES", "SAMPLERS", "Proposer"]

MODELLED = 5  # tries of the sampler to find a new point, before a random one is looked for
DRAWN = 300  # random points that are looked through
OUTCOMES = ("complete", "pruned", "failed", "infeasible")


class Proposer:
    """Proposes values, best guess after best guess. One thread calls it.

    Args:
        seed: equal seeds and equal answers give equal proposals, in one session or in several: chance is drawn anew
            for each proposal, from the seed and the number of points before it. (Only cmaes begins anew with a
            session, and a sampler that is shown a part of more than 200 trials may be shown another part.)
        startup: random proposals before the sampler begins to model.
        sampler: "tpe" (multivariate, grouped by open knobs, aware of what is running), "random", "grid" (every
            point once in random order, ranges at their low end, middle and high end), "cmaes" (begins at the
            best known point) or "gp".
        objectives: what counts, in the order of `worth`.
        tries: points to begin with, in this order; each may name only some knobs. The defaults come after them.

    Raises:
        ValueError: an unknown sampler, one that the space or the objectives do not allow, or a try that is no
            point of the space.
    """

    def __init__(
        self,
        space: Space,
        *,
        seed: int,
        startup: int = 10,
        sampler: str = "tpe",
        objectives: Sequence[Objective] = ACCURACY,
        tries: Sequence[Mapping[str, Value]] = (),
    ) -> None:
        self._space, self._seed = space, seed
        self._searched = searched(space, sampler, objectives)
        firsts: list[dict[str, Value]] = []
        for point in (*_tried(space, tries), *(complete(space, default) for default in space.defaults)):
            if point not in firsts:
                firsts.append(point)
        self._firsts = deque(firsts)
        self._guide = Guide(self._searched, startup, sampler, tuple(objectives))
        self._running: dict[int, Running] = {}  # by proposal
        self._told: dict[int, Told] = {}  # by proposal
        self._next = 0
        self._seen: set[tuple[Value, ...]] = set()  # points that were asked or replayed

    def ask(self) -> tuple[int, dict[str, Value]]:
        """A number for the proposal and its values, fixed knobs included: tries, defaults, then the sampler.

        A sampler on a small space comes back to its best points again and again; then a point that was never
        asked is drawn at random. Only when none is found (a grid is at its end) does an old one come again.
        """
        if self._firsts:
            return self._give(self._firsts.popleft())
        chance = random.Random(f"{self._seed}, {len(self._seen)}")
        for _ in range(MODELLED):
            running, values = self._guide.propose(chance.getrandbits(32))
            if _identity(values) not in self._seen:
                return self._number(values, running), values
            self._guide.drop(running)
        drawn = (sample(self._searched, chance) for _ in range(DRAWN))
        return self._give(next((point for point in drawn if _identity(point) not in self._seen), values))

    def tell(
        self,
        proposal: int,
        outcome: str,
        worth: tuple[float, ...] | None,
        intermediate: Mapping[int, float],
    ) -> None:
        """How a proposal ended. Told again, it ended so instead.

        Args:
            outcome: "complete", "pruned", "infeasible" (it cannot be trained: the sampler learns to stay away)
                or "failed" (no fault of the values: teaches nothing).
            worth: what a complete trial came to in each objective, in its unit; of a pruned one what it had come
                to, where that is known.
            intermediate: the first objective so far by step; what a pruned trial is judged by.
        """
        assert outcome in OUTCOMES, outcome
        if proposal in self._running:
            running = self._running.pop(proposal)
            self._told[proposal] = self._guide.end(running, outcome, worth, intermediate)
        elif proposal in self._told:
            self._told[proposal] = self._guide.amend(self._told[proposal], outcome, worth, intermediate)

    def replay(
        self,
        values: Mapping[str, Value],
        outcome: str,
        worth: tuple[float, ...] | None,
        intermediate: Mapping[int, float],
    ) -> int:
        """Take up a trial of an earlier session of this study: its proposal number.

        outcome: as for `tell`, or "running": it is told later. Tries and defaults that were tried are not asked
        again. Values that are no point of the space (it has changed since) get a number and teach nothing.
        """
        assert outcome in (*OUTCOMES, "running"), outcome
        try:
            point = complete(self._space, values)
        except PointError:
            self._next += 1
            return self._next - 1
        if point in self._firsts:
            self._firsts.remove(point)
        if outcome == "running":
            return self._give(point)[0]
        if self._searchable(point):
            self._told[self._next] = self._guide.learn(point, outcome, worth, intermediate)
        return self._number(point, None)

    def learn(
        self,
        values: Mapping[str, Value],
        outcome: str,
        worth: tuple[float, ...] | None,
        intermediate: Mapping[int, float],
    ) -> bool:
        """Learn from a trial of an older study; False if it is no point of this space.

        values: every knob that a recipe has; those that this space does not open at the point are left aside. The
        point may be asked again here, and the trial gets no number. A grid is not shortened by it.
        """
        assert outcome in OUTCOMES, outcome
        try:
            point = walk(self._space, lambda knob, domain, path: taken(knob, domain, values))
        except PointError:
            return False
        if any(values.get(knob) != value for knob, value in point.items()):  # the space fixes another value
            return False
        if self._searched is self._space:
            self._guide.learn(point, outcome, worth, intermediate)
        return True

    def _give(self, point: dict[str, Value]) -> tuple[int, dict[str, Value]]:
        """Propose this point."""
        running = self._guide.begin(point) if self._searchable(point) else None
        return self._number(point, running), point

    def _searchable(self, point: Mapping[str, Value]) -> bool:
        """Whether the sampler can come to a point: not if it lies beside the grid."""
        return self._searched is self._space or contains(self._searched, point)

    def _number(self, point: Mapping[str, Value], running: Running | None) -> int:
        """The number of a new proposal; the sampler hears of its end if it knows of it."""
        self._seen.add(_identity(point))
        if running is not None:
            self._running[self._next] = running
        self._next += 1
        return self._next - 1


def _tried(space: Space, tries: Sequence[Mapping[str, Value]]) -> Iterator[dict[str, Value]]:
    """Whole points of the tries of a user."""
    for number, values in enumerate(tries, start=1):
        try:
            yield complete(space, values)
        except PointError as error:
            written = ",".join(f"{knob}={show(value)}" for knob, value in values.items())
            raise ValueError(f"try {number} ({written}) is no point of {space.name}: {error}") from None


def _identity(values: Mapping[str, Value]) -> tuple[Value, ...]:
    """Equal for equal points only: which knobs a walk comes to is decided by its values so far."""
    return tuple(values.values())
