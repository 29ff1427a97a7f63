"""Augmentation of training batches: every example draws its own parameters, chance comes in as a generator.

Shape letters: B batch, T samples, C channels, M bands, N frames, K classes,
R rows that were chosen, A masks, S places along an axis.

Each function takes `(tensor, rng, ...)`, returns a new tensor of the same shape and leaves its input alone.
With its strength at zero it returns the input itself and draws nothing.
The generator may live on another device than the data (a CPU generator keeps a run reproducible anywhere).
"""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from .checks import within

NOISE_RANGE_DB = 20.0  # the signal-to-noise ratio is uniform in [noise_snr_db, noise_snr_db + 20] dB


@dataclass(frozen=True)
class AugmentConfig:
    """What is done to training clips. All off by default."""

    gain_db: float = 0.0  # uniform in +- this many dB
    roll: float = 0.0  # rotation in time, uniform in +- this share of the clip / 2 (1 = anywhere)
    noise_p: float = 0.0  # share of the examples that get white noise
    noise_snr_db: float = 20.0  # loudest noise; per example uniform in [this, this + 20] dB
    freq_mask: float = 0.0  # most of the bands that all masks together hide (share)
    time_mask: float = 0.0  # most of the frames that all masks together hide (share)
    masks: int = 2  # number of masks along each axis
    mixup: float = 0.0  # alpha of the Beta distribution of mixup; 0 = off

    def __post_init__(self) -> None:
        within("augment.gain_db", self.gain_db, 0.0, 40.0)
        within("augment.roll", self.roll, 0.0, 1.0)
        within("augment.noise_p", self.noise_p, 0.0, 1.0)
        within("augment.noise_snr_db", self.noise_snr_db, -20.0, 80.0)
        within("augment.freq_mask", self.freq_mask, 0.0, 0.9)
        within("augment.time_mask", self.time_mask, 0.0, 0.9)
        within("augment.masks", self.masks, 1, 8)
        within("augment.mixup", self.mixup, 0.0, 10.0)


def gain(wave_BT: Tensor, rng: Generator, gain_db: float) -> Tensor:
    """Make each clip louder or softer by its own amount, uniform in +-`gain_db` dB."""
    if gain_db == 0.0:
        return wave_BT
    db_B1 = (2 * _uniform((len(wave_BT), 1), rng, wave_BT) - 1) * gain_db
    return wave_BT * 10 ** (db_B1 / 20)


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


def noise(wave_BT: Tensor, rng: Generator, p: float, snr_db: float) -> Tensor:
    """Add white noise to a share `p` of the clips, each at its own ratio, uniform in [snr_db, snr_db + 20] dB.

    The ratio is mean power of the clip over mean power of the noise; a silent clip stays silent.
    """
    if p == 0.0:
        return wave_BT
    B, T = wave_BT.shape
    chosen_B = torch.rand(B, generator=rng, device=rng.device) < p
    rows_R = chosen_B.nonzero()[:, 0]
    white_RT = torch.randn((len(rows_R), T), generator=rng, device=rng.device).to(wave_BT)
    ratio_R1 = snr_db + NOISE_RANGE_DB * _uniform((len(rows_R), 1), rng, wave_BT)
    rows_R = rows_R.to(wave_BT.device)
    rms_R1 = wave_BT[rows_R].square().mean(dim=1, keepdim=True).sqrt()
    white_RT *= rms_R1 * 10 ** (-ratio_R1 / 20)
    return wave_BT.index_add(0, rows_R, white_RT)


def spec_augment(x: Tensor, rng: Generator, freq_mask: float, time_mask: float, masks: int = 2) -> Tensor:
    """Hide bands and frames of each example behind zeros (Park et al. 2019), `masks` along each axis.

    The masks of one axis together never hide more than its share. Zero is the mean of a normalised feature.
    A waveform [B, 1, T] has no bands: only time masks touch it.
    """
    if x.dim() == 4:
        x = _mask(x, rng, -2, freq_mask, masks)
    return _mask(x, rng, -1, time_mask, masks)


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
    share = share_B.view(-1, *[1] * (x.dim() - 1)).to(x.dtype)
    return torch.lerp(x[partner_B], x, share)


def _uniform(shape: tuple[int, ...], rng: Generator, like: Tensor) -> Tensor:
    return torch.rand(shape, generator=rng, device=rng.device).to(like)


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


class Augment:
    """The augmentations of a recipe in their order: on the wave, on the feature, between examples."""

    def __init__(self, config: AugmentConfig) -> None:
        self.config = config

    @property
    def touches_wave(self) -> bool:
        """Whether features must be computed anew in every epoch."""
        return max(self.config.gain_db, self.config.noise_p) > 0.0

    def wave(self, wave_BT: Tensor, rng: Generator) -> Tensor:
        """Gain and noise; float32 in [-1, 1] comes in, louder clips may leave the range."""
        wave_BT = gain(wave_BT, rng, self.config.gain_db)
        return noise(wave_BT, rng, self.config.noise_p, self.config.noise_snr_db)

    def spec(self, x: Tensor, rng: Generator) -> Tensor:
        """Roll and masks on a normalised feature [B, C, M, N] (or [B, 1, T]: no bands to mask).

        The roll comes here and not on the wave, so that features that nothing else changes are computed once.
        """
        x = roll(x, rng, self.config.roll)
        return spec_augment(x, rng, self.config.freq_mask, self.config.time_mask, self.config.masks)

    def mix(self, x: Tensor, target_BK: Tensor, rng: Generator) -> tuple[Tensor, Tensor]:
        """Mixup of features and of targets, which stay distributions over the classes."""
        return mixup(x, target_BK, rng, self.config.mixup)
