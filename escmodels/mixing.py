"""Mixing of examples: mixup on features, between-class mixing on waves or on band power.

Shape letters: B batch, T samples, R resolutions, N frames, M bands, K classes, W samples of a frame, F bins.

Each function takes tensors and a generator, returns new tensors of the same shapes and leaves its inputs alone.
With its strength at zero it returns the inputs themselves and draws nothing.
"""

import torch
from torch import Generator, Tensor
from torch.nn import functional

from .banks import a_weight
from .draws import uniform

SILENCE = (
    1e-10  # mean square below which a clip counts as silence: -100 dB, just below the noise of 16-bit audio
)


def mixup(x: Tensor, target_BK: Tensor, rng: Generator, alpha: float) -> tuple[Tensor, Tensor]:
    """Blend each example with another one of the batch (Zhang et al. 2018), shares drawn from Beta(alpha, alpha)."""
    if alpha == 0.0:
        return x, target_BK
    B = len(x)
    partner_B = torch.randperm(B, generator=rng, device=rng.device).to(x.device)
    # Beta from two gammas, in logarithms (Gamma(a) = Gamma(a + 1) U^(1/a)): a small alpha must not give 0 / 0.
    above_2B = torch.full((2, B), alpha + 1.0, device=rng.device)
    uniform_2B = torch.rand((2, B), generator=rng, device=rng.device).clamp(min=1e-38)
    log_2B = torch._standard_gamma(above_2B, generator=rng).log() + uniform_2B.log() / alpha
    share_B = torch.sigmoid(log_2B[0] - log_2B[1]).to(x)
    return blend(x, partner_B, share_B), blend(target_BK, partner_B, share_B)


def blend(x: Tensor, partner_B: Tensor, share_B: Tensor) -> Tensor:
    """Each example times its share plus its partner times the rest: share 1 is identity."""
    return torch.lerp(x[partner_B], x, _beside(share_B, x))


def between_waves(
    wave_BT: Tensor, target_BK: Tensor, rng: Generator, p: float, sample_rate: int
) -> tuple[Tensor, Tensor]:
    """Mix a share `p` of the clips each with one of another class (Tokozume et al. 2018, arXiv 1711.10282).

    x = (q x1 + (1 - q) x2) / sqrt(q^2 + (1 - q)^2), y = r y1 + (1 - r) y2, with r uniform in [0, 1) and q of
    `pressure_share`. A batch of one class stays as it is.
    """
    if p == 0.0:
        return wave_BT, target_BK
    partner_B, ratio_B = pairs(target_BK, rng, p)
    share_B = pressure_share(ratio_B, loud_B := loudest(wave_BT, sample_rate), loud_B[partner_B])
    rest_B = 1 - share_B
    size_B = (share_B.square() + rest_B.square()).sqrt()
    mixed_BT = wave_BT * _beside(share_B / size_B, wave_BT)
    mixed_BT.addcmul_(wave_BT[partner_B], _beside(rest_B / size_B, wave_BT))
    return mixed_BT, blend(target_BK, partner_B, ratio_B)


def between_bands(
    band_BRNM: Tensor, loud_BN2: Tensor, target_BK: Tensor, rng: Generator, p: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The same on band power, loudness and targets: what the mixed wave has on average over the phases.

    Powers of unrelated sounds add up: (q^2 E1 + (1 - q)^2 E2) / (q^2 + (1 - q)^2).
    """
    if p == 0.0:
        return band_BRNM, loud_BN2, target_BK
    partner_B, ratio_B = pairs(target_BK, rng, p)
    loud_B = loud_BN2[..., 1].amax(dim=1)
    share_B = pressure_share(ratio_B, loud_B, loud_B[partner_B])
    share_B = share_B.square() / (share_B.square() + (1 - share_B).square())
    mixed_BRNM, mixed_BN2 = blend(band_BRNM, partner_B, share_B), blend(loud_BN2, partner_B, share_B)
    return mixed_BRNM, mixed_BN2, blend(target_BK, partner_B, ratio_B)


def pairs(target_BK: Tensor, rng: Generator, p: float) -> tuple[Tensor, Tensor]:
    """A partner of another class for each example (its row, [B]) and the example's own part r of the target [B].

    The class is the largest entry of the target. r is 1 where an example stays alone: a share 1 - p of them, and
    those that meet no other class in the batch.
    """
    B = len(target_BK)
    class_B = target_BK.argmax(dim=1)
    other_BB = class_B[:, None] != class_B
    partner_B = uniform((B, B), rng, target_BK).masked_fill(~other_BB, -1.0).argmax(dim=1)
    mixed_B = (uniform((B,), rng, target_BK) < p) & other_BB.any(dim=1)
    return partner_B, torch.where(mixed_B, uniform((B,), rng, target_BK), 1.0)


def pressure_share(ratio_B: Tensor, loud_B: Tensor, other_B: Tensor) -> Tensor:
    """The amplitude share q at which the first sound is heard with part r: 1 / (1 + 10^((G1 - G2) / 20) (1 - r) / r).

    G = 10 log10 of the loudness (A-weighted mean square of the loudest frame), given here as mean squares [B];
    below `SILENCE` all clips are alike. (Tokozume et al. 2018, section 3.2.)
    """
    first_B = ratio_B * other_B.clamp(min=SILENCE).sqrt()
    return first_B / (first_B + (1 - ratio_B) * loud_B.clamp(min=SILENCE).sqrt())


def loudest(wave_BT: Tensor, sample_rate: int) -> Tensor:
    """A-weighted mean square of the loudest frame of each clip [B].

    Hann frames of 2048 samples (4096 from 32 kHz up) that overlap by half, as in the code of the paper; a clip
    shorter than a frame is one frame with zeros behind.
    """
    W = 4096 if sample_rate >= 32000 else 2048
    T = wave_BT.shape[1]
    frames_BNW = functional.pad(wave_BT, (0, max(0, W - T))).unfold(1, W, W // 2)
    window_W = torch.hann_window(W, device=wave_BT.device)
    parts_BNF2 = torch.view_as_real(torch.fft.rfft(frames_BNW * window_W)).square_()
    weight_F = a_weight(torch.fft.rfftfreq(W, 1 / sample_rate, device=wave_BT.device))
    weight_F[1:-1] *= 2  # the bins of negative frequency (Parseval)
    scale_F2 = (weight_F / (W * window_W.square().sum()))[:, None].expand(-1, 2).reshape(-1)
    return (parts_BNF2.flatten(2) @ scale_F2).amax(dim=1)


def _beside(share_B: Tensor, x: Tensor) -> Tensor:
    """One number an example, shaped and typed to multiply `x`."""
    return share_B.view(-1, *[1] * (x.dim() - 1)).to(x.dtype)
