"""Augmentation of band power: what happens to a sound, done to its spectrogram.

Shape letters: B batch, R resolutions, N frames, M bands, L loudness values of a frame, S examples that were chosen.

Each function returns a new tensor of the same shape and leaves its input alone. With its strength at zero it returns
the input itself and draws nothing. These forms skip the Fourier transform; their twins on the wave are in
`wave_augment`.
"""

import torch
from torch import Generator, Tensor

from .draws import both_ways, chosen, uniform

NOISE_RANGE_DB = 20.0  # the signal-to-noise ratio is uniform in [noise_snr_db, noise_snr_db + 20] dB
TINY = 1e-30  # power that is divided by instead of zero


def stretch(x: Tensor, factor_B: Tensor) -> Tensor:
    """Play each example's frames (axis -2 of [B, ..., N, M]) `factor` times as fast, from its first frame on.

    What a faster clip lacks at its end is the clip again; of a slower one the end is cut.
    """
    N = x.shape[-2]
    return frames_at(x, torch.arange(N, device=x.device, dtype=torch.float32) * factor_B[:, None].float())


def frames_at(x: Tensor, position_BN: Tensor) -> Tensor:
    """Read each example's frames (axis -2 of [B, ..., N, M]) at its own fractional positions, interpolating linearly.

    Positions wrap round: after the last frame comes the first one.
    """
    shape, N = x.shape, x.shape[-2]
    lower_BN = position_BN.floor()
    share_BN = (position_BN - lower_BN).to(x.dtype)
    first_BN = lower_BN.long() % N
    x_BRNM = x.reshape(len(x), -1, N, shape[-1])
    B, R = x_BRNM.shape[:2]
    begin_BR1 = (torch.arange(B * R, device=x.device) * N).view(B, R, 1)
    rows = x_BRNM.reshape(B * R * N, -1)  # whole rows: a gather of single values is many times slower
    low = rows.index_select(0, (begin_BR1 + first_BN[:, None]).flatten()).view(B, R, -1, shape[-1])
    high = rows.index_select(0, (begin_BR1 + ((first_BN + 1) % N)[:, None]).flatten()).view_as(low)
    return torch.lerp(low, high, share_BN[:, None, :, None]).view(*shape[:-2], -1, shape[-1])


def gain(band_BRNM: Tensor, rng: Generator, gain_db: float) -> Tensor:
    """Make each clip louder or softer by its own amount, uniform in +-`gain_db` dB."""
    if gain_db == 0.0:
        return band_BRNM
    db_B = both_ways((len(band_BRNM),), rng, band_BRNM) * gain_db
    return band_BRNM * (10 ** (db_B / 10)).view(-1, 1, 1, 1)


def noise(
    band_BRNM: Tensor,
    loud_BN2: Tensor,
    rng: Generator,
    p: float,
    snr_db: float,
    noise_CRM: Tensor,
    freedom_RM: Tensor,
) -> Tensor:
    """Add noise to a share `p` of the clips, each at its own ratio, uniform in [snr_db, snr_db + 20] dB.

    The ratio is mean power of the clip (`loud_BN2[..., 0]`, mean square of the samples) over that of the noise; a
    silent clip stays silent. `noise_CRM`: expected band power of noise of unit variance, of each colour to draw from.

    A bin of the noisy sound holds |X + Z|^2 with Z complex normal. The sum of k independent such bins, of power E
    without noise and P of noise alone, has mean E + P and variance (P^2 + 2 E P) / k. Drawn is a log-normal number
    with these two moments, for each band and frame by itself.
    """
    if p == 0.0:
        return band_BRNM
    rows_S, counts_S = chosen(len(band_BRNM), p, rng)
    ratio_S = snr_db + NOISE_RANGE_DB * uniform((len(rows_S),), rng, band_BRNM)
    colour_S = torch.randint(len(noise_CRM), (len(rows_S),), generator=rng, device=rng.device)
    rows_S, colour_S = rows_S.to(band_BRNM.device), colour_S.to(band_BRNM.device)
    clean = band_BRNM.index_select(0, rows_S)
    power_S = loud_BN2[..., 0].mean(dim=1)[rows_S] * 10 ** (-ratio_S / 10) * counts_S.to(band_BRNM)
    total = clean + (power_S[:, None, None] * noise_CRM[colour_S]).unsqueeze(2)
    share = clean.div_(total.clamp(min=TINY))  # of the clean sound in the noisy one: 1 leaves no chance
    spread = (
        share.square_().neg_().add_(1.0).div_(freedom_RM.unsqueeze(1)).log1p_()
    )  # variance of the logarithm
    normal = torch.randn(spread.shape, generator=rng, device=rng.device).to(band_BRNM)
    factor = normal.mul_(spread.sqrt()).sub_(spread, alpha=0.5).exp_()
    return band_BRNM.index_copy(0, rows_S, total.mul_(factor))
