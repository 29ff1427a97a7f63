"""What the augmentations draw. Every function takes the generator, which may live on another device than the data.

Shape letters: B batch, S examples that were chosen. Nothing here waits for the device.
"""

import math

import torch
from torch import Generator, Tensor


def uniform(shape: tuple[int, ...], rng: Generator, like: Tensor) -> Tensor:
    """Uniform in [0, 1): drawn where the generator is, given where and as what `like` is."""
    return torch.rand(shape, generator=rng, device=rng.device).to(like)


def both_ways(shape: tuple[int, ...], rng: Generator, like: Tensor) -> Tensor:
    """Uniform in [-1, 1)."""
    return uniform(shape, rng, like).mul_(2.0).sub_(1.0)


def factors(size: int, reach: float, rng: Generator, like: Tensor) -> Tensor | None:
    """Factors (1 + reach)^U(-1, 1) [B], uniform in their logarithm. At reach 0 None, and nothing is drawn."""
    if reach == 0.0:
        return None
    return torch.exp(both_ways((size,), rng, like) * math.log1p(reach))


def product(first_B: Tensor | None, second_B: Tensor | None) -> Tensor | None:
    """Of two factors of which None means 1."""
    if first_B is None or second_B is None:
        return second_B if first_B is None else first_B
    return first_B * second_B


def chosen(size: int, p: float, rng: Generator) -> tuple[Tensor, Tensor]:
    """A share `p` of `size` examples: their rows [S] in random order and, as 0 or 1, whether each counts [S].

    S = ceil(p size) is known beforehand, so that no device has to report a count. The last row counts with the
    probability that is left: each example is chosen with probability p, and p size of them, up to less than one.
    """
    count = math.ceil(p * size - 1e-9)  # 0.1 x 30 is a little more than 3
    rows_S = torch.randperm(size, generator=rng, device=rng.device)[:count]
    counts_S = torch.ones(count, device=rng.device)
    counts_S[-1:] = (torch.rand(1, generator=rng, device=rng.device) < p * size - (count - 1)).float()
    return rows_S, counts_S
