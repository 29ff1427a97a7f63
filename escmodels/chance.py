"""Chance as an argument, even for the parts of torch that draw from its global generators."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Generator, Tensor


class Chance:
    """Every stream of chance of one fit, from one seed."""

    def __init__(self, seed: int, device: torch.device) -> None:
        first, second, third = (int(s) for s in np.random.SeedSequence(seed).generate_state(3))
        self.order = Generator().manual_seed(second)  # shuffling, crops
        self.augment = Generator(device).manual_seed(third)
        self._doors: list[tuple[Callable[[], Tensor], Callable[[Tensor], None]]]
        self._doors = [(torch.get_rng_state, torch.set_rng_state)]
        self._states = [Generator().manual_seed(first).get_state()]
        if device.type == "cuda":
            get, put = torch.cuda.get_rng_state, torch.cuda.set_rng_state
            self._doors.append((lambda: get(device), lambda state: put(state, device)))
            self._states.append(Generator(device).manual_seed(first).get_state())

    @contextmanager
    def own(self) -> Iterator[None]:
        """Put our state into torch's global generators, from which init and dropout draw, and take it out again."""
        outer = [get() for get, _ in self._doors]
        for (_, put), state in zip(self._doors, self._states, strict=True):
            put(state)
        try:
            yield
        finally:
            self._states = [get() for get, _ in self._doors]
            for (_, put), state in zip(self._doors, outer, strict=True):
                put(state)
