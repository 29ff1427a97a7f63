"""Compression of band power to the range that ears and nets like.

Shape letters: B batch, R resolutions, N frames, M bands. All take band power [B, R, N, M] and return a new tensor
of the same shape.
"""

import math

import torch
from torch import Tensor

FLOOR = 1e-10  # power of a band that counts as silence: -100 dB, just below the noise of 16-bit audio
SOFT_FLOOR = 1e-6  # added before the natural logarithm
INTEGER = 2.0**31  # PCEN's constants are made for 32-bit integer sound; ours is in [-1, 1]
PCEN_EPS = 1e-6
BLOCK = 256  # frames that one matrix product smooths


def decibels(band_BRNM: Tensor) -> Tensor:
    """10 log10, not below -100 dB."""
    return band_BRNM.clamp(min=FLOOR).log_().mul_(10 / math.log(10))  # log is twice as fast as log10


def log(band_BRNM: Tensor) -> Tensor:
    """ln(power + 1e-6)."""
    return (band_BRNM + SOFT_FLOOR).log_()


def smoothing(seconds: float, sample_rate: int, hop: int) -> float:
    """Coefficient s of a smoother with this time constant, as `librosa.pcen` has it."""
    frames = seconds * sample_rate / hop
    return (math.sqrt(1 + 4 * frames**2) - 1) / (2 * frames**2)


def smooth(band_BRNM: Tensor, s: float, block: int = BLOCK) -> Tensor:
    """M[t] = (1 - s) M[t-1] + s E[t] along the frames, with M[-1] = E[0]: a steady sound has no onset.

    Exact. Frames are smoothed in blocks by a triangular matrix, each block begins from the last value of the one
    before it, so that no loop runs over frames.
    """
    N = band_BRNM.shape[-2]
    at_K = torch.arange(min(N, block), device=band_BRNM.device, dtype=torch.float64)
    age_KK = at_K[:, None] - at_K
    memory_KK = (s * (1 - s) ** age_KK.clamp(min=0)).where(age_KK >= 0, 0.0).to(band_BRNM.dtype)
    fading_K1 = ((1 - s) ** (at_K + 1)).to(band_BRNM.dtype)[:, None]
    last_BR1M, parts = band_BRNM[..., :1, :], []
    for part_BRKM in torch.split(band_BRNM, block, dim=-2):
        K = part_BRKM.shape[-2]
        parts.append(memory_KK[:K, :K] @ part_BRKM + fading_K1[:K] * last_BR1M)
        last_BR1M = parts[-1][..., -1:, :]
    return torch.cat(parts, dim=-2)


def pcen(band_BRNM: Tensor, s: float, gain: float, bias: float, power: float) -> Tensor:
    """Per-channel energy normalisation: (E / (eps + M)^gain + bias)^power - bias^power, M the smoothed E.

    Wang et al. 2017, arXiv 1607.05666. E is power on the scale of 32-bit integers, as librosa's documentation asks:
    on the scale of [-1, 1] the bias would drown everything.
    """
    energy_BRNM = band_BRNM * INTEGER
    level_BRNM = smooth(energy_BRNM, s).add_(PCEN_EPS).log_().mul_(-gain).exp_()
    # bias^power ((1 + x / bias)^power - 1) in a form that keeps its digits for small x
    return (energy_BRNM * level_BRNM).div_(bias).log1p_().mul_(power).expm1_().mul_(bias**power)
