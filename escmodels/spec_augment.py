"""Augmentation of finished features: rotation in time, hidden bands and frames.

Shape letters: B batch, C channels, H rows, N frames, T samples, A masks, S places along an axis.

Each function takes `(tensor, rng, ...)`, returns a new tensor of the same shape and leaves its input alone.
With its strength at zero it returns the input itself and draws nothing.
"""

import torch
from torch import Generator, Tensor


def roll(x: Tensor, rng: Generator, share: float) -> Tensor:
    """Shift each example in time, its last axis, by its own amount, at most half of `share` of it either way.

    What leaves one end enters the other: samples or frames move, none changes.
    """
    B, T = len(x), x.shape[-1]
    reach = int(T * share / 2)
    if reach == 0:
        return x
    shift_B = torch.randint(-reach, reach + 1, (B,), generator=rng, device=rng.device)
    start_B = (-shift_B % T).to(x.device)
    windows = torch.cat((x, x), dim=-1).unfold(-1, T, 1)  # rows of it: a gather of samples is 15 times slower
    return windows[torch.arange(B, device=x.device), ..., start_B, :]


def spec_augment(x: Tensor, rng: Generator, freq_mask: float, time_mask: float, masks: int = 2) -> Tensor:
    """Hide bands and frames of each example behind zeros (Park et al. 2019), `masks` along each axis.

    The masks of one axis together never hide more than its share. Zero is the mean of a normalised feature.
    A waveform [B, 1, T] has no bands: only time masks touch it.
    """
    if x.dim() == 4:
        x = _mask(x, rng, -2, freq_mask, masks)
    return _mask(x, rng, -1, time_mask, masks)


def _mask(x: Tensor, rng: Generator, axis: int, share: float, masks: int) -> Tensor:
    """Zero `masks` stretches along `axis`, each at most share / masks of it long, one draw per example."""
    size = x.shape[axis]
    widest = int(size * share / masks)
    if widest == 0:
        return x
    width_AB1 = torch.randint(0, widest + 1, (masks, len(x), 1), generator=rng, device=rng.device)
    chance_AB1 = torch.rand(width_AB1.shape, generator=rng, device=rng.device)
    begin_AB1 = (chance_AB1 * (size - width_AB1 + 1)).long()
    place_S = torch.arange(size, device=rng.device)
    hidden_BS = ((place_S >= begin_AB1) & (place_S < begin_AB1 + width_AB1)).any(dim=0)
    shape = [len(x)] + [1] * (x.dim() - 1)
    shape[axis] = size
    return x.masked_fill(hidden_BS.view(shape).to(x.device), 0.0)
