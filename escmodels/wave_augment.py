"""Augmentation of waves: loudness, polarity, noise, speed, and the exact forms of time stretch and pitch shift.

Shape letters: B batch, T samples, S examples that were chosen, N frames, W samples of a frame, F bins, P pieces,
L samples of a piece.

Each function takes `(wave_BT, rng or factors, ...)`, returns a new tensor of the same shape and leaves its input
alone. With its strength at zero it returns the input itself and draws nothing.
"""

import math

import torch
from torch import Generator, Tensor
from torch.nn import functional

from .band_augment import NOISE_RANGE_DB
from .draws import both_ways, chosen, factors, product, uniform
from .spectrograms import COLOURS
from .stacks import FLAT_BELOW

PIECE = 256  # samples whose positions are one number in float64 and the rest in float32: half the time
FINER = 2  # times as many samples between which the exact forms interpolate


def gain(wave_BT: Tensor, rng: Generator, gain_db: float) -> Tensor:
    """Make each clip louder or softer by its own amount, uniform in +-`gain_db` dB."""
    if gain_db == 0.0:
        return wave_BT
    return wave_BT * 10 ** (both_ways((len(wave_BT), 1), rng, wave_BT) * (gain_db / 20))


def polarity(wave_BT: Tensor, rng: Generator, p: float) -> Tensor:
    """Turn a share `p` of the clips upside down."""
    if p == 0.0:
        return wave_BT
    return wave_BT * torch.where(uniform((len(wave_BT), 1), rng, wave_BT) < p, -1.0, 1.0)


def noise(wave_BT: Tensor, rng: Generator, p: float, snr_db: float, colour: str, sample_rate: int) -> Tensor:
    """Add noise to a share `p` of the clips, each at its own ratio, uniform in [snr_db, snr_db + 20] dB.

    The ratio is mean power of the clip over mean power of the noise, exactly; a silent clip stays silent.
    `colour`: white, pink, brown, or any (each example draws one of them); `sample_rate` in Hz.
    """
    if p == 0.0:
        return wave_BT
    rows_S, counts_S = chosen(len(wave_BT), p, rng)
    ratio_S = snr_db + NOISE_RANGE_DB * uniform((len(rows_S),), rng, wave_BT)
    added_ST = coloured(len(rows_S), wave_BT, rng, colour, sample_rate)
    rows_S = rows_S.to(wave_BT.device)
    ratio_S = (
        counts_S.to(wave_BT) * 10 ** (-ratio_S / 20) * (_power(wave_BT)[rows_S] / _power(added_ST)).sqrt()
    )
    return wave_BT.index_add(0, rows_S, added_ST.mul_(ratio_S[:, None]))


def coloured(size: int, like_BT: Tensor, rng: Generator, colour: str, sample_rate: int) -> Tensor:
    """So many clips of Gaussian noise [S, T], as long as those of `like_BT`: power f^0, f^-1 or f^-2, flat below 20 Hz.

    Their level is of no meaning. Coloured noise is made of the normal numbers of its spectrum: one transform.
    """
    T = like_BT.shape[1]
    if colour == "white":
        return torch.randn((size, T), generator=rng, device=rng.device).to(like_BT)
    length = 1024 * math.ceil(T / 1024)  # lengths that the transform likes
    spectrum_SF2 = torch.randn((size, length // 2 + 1, 2), generator=rng, device=rng.device).to(like_BT)
    if colour == "any":
        power_S1 = torch.randint(len(COLOURS), (size, 1), generator=rng, device=rng.device).to(like_BT)
    else:
        power_S1 = like_BT.new_full((size, 1), float(COLOURS[colour]))
    hertz_F = torch.fft.rfftfreq(length, 1 / sample_rate, device=like_BT.device).clamp_(min=FLAT_BELOW)
    spectrum_SF2 *= torch.exp(-0.5 * power_S1 * (hertz_F / FLAT_BELOW).log())[:, :, None]
    return torch.fft.irfft(torch.view_as_complex(spectrum_SF2), n=length, norm="ortho")[:, :T]


def speed(wave_BT: Tensor, rng: Generator, reach: float) -> Tensor:
    """Play each clip faster or slower (tempo and pitch together), by a factor of (1 + reach)^U(-1, 1).

    Linear interpolation between samples. What a faster clip lacks at its end is the clip again; of a slower one the
    end is cut.
    """
    factor_B = factors(len(wave_BT), reach, rng, wave_BT)
    return wave_BT if factor_B is None else read(wave_BT, factor_B, wave_BT.shape[1], 1 + reach)


def exact(
    wave_BT: Tensor, rng: Generator, stretch: float, pitch: float, speed: float, sample_rate: int
) -> Tensor:
    """Change tempo, pitch and speed of each clip: phase vocoder, then resampling. Ends are treated as in `speed`.

    Tempo by a factor of (1 + stretch)^U(-1, 1), pitch uniform in +-`pitch` semitones, speed by (1 + speed)^U(-1, 1):
    the vocoder plays at tempo / pitch with the pitch kept, and the result is read pitch x speed times as fast.
    """
    B, T = wave_BT.shape
    tempo_B, speed_B = (factors(B, reach, rng, wave_BT) for reach in (stretch, speed))
    pitch_B = factors(B, 2 ** (pitch / 12) - 1, rng, wave_BT)
    fastest = 2 ** (pitch / 12) * (1 + speed)
    laid_B = product(tempo_B, None if pitch_B is None else 1 / pitch_B)
    read_B = product(pitch_B, speed_B)
    if laid_B is not None:
        wave_BT = vocoder(wave_BT, laid_B, math.ceil(T * fastest), sample_rate)
    return wave_BT if read_B is None else resample(wave_BT, read_B, T, fastest)


def vocoder(wave_BT: Tensor, factor_B: Tensor, samples: int, sample_rate: int) -> Tensor:
    """Play each clip `factor` times as fast with its pitch kept: so many samples of it, the clip again where it ends.

    Phase vocoder as `librosa.effects.time_stretch` does it (Ellis 2002): Hann frames of 2048 samples (1024 below
    16 kHz, 4096 from 32 kHz up) every quarter of a frame; magnitudes are interpolated between neighbouring frames,
    phases advance as between these. Because frames are laid down as densely as they were taken, the advance is their
    difference of phase and whole turns are of no matter.
    """
    W = 1024 if sample_rate < 16000 else 2048 if sample_rate < 32000 else 4096
    frames = 1 + math.ceil((samples + W // 2) / (W // 4))
    rows = 1 if wave_BT.device.type == "cpu" else len(wave_BT)  # one clip at a time stays in the cache
    window_W = torch.hann_window(W, device=wave_BT.device)
    parts = zip(torch.split(wave_BT, rows), torch.split(factor_B, rows), strict=True)
    played_BT = torch.cat([_lay(_advance(*part, frames, window_W), window_W) for part in parts])
    return played_BT[:, W // 2 : W // 2 + samples]


def _advance(wave_BT: Tensor, factor_B: Tensor, frames: int, window_W: Tensor) -> Tensor:
    """The spectra [B, N, F] of so many frames read `factor` times as fast, each phase following from the one before."""
    W, B = len(window_W), len(wave_BT)
    frames_BNW = functional.pad(wave_BT, (W // 2, W // 2)).unfold(1, W, W // 4)
    spectrum_BNF = torch.fft.rfft(frames_BNW * window_W)
    real_BNF = spectrum_BNF.real.contiguous()  # of strided numbers atan2 takes 20 times as long
    imag_BNF = spectrum_BNF.imag.contiguous()
    size_BNF = (real_BNF * real_BNF).addcmul_(imag_BNF, imag_BNF).sqrt_()
    phase_BNF = torch.atan2(imag_BNF, real_BNF)
    N = size_BNF.shape[1]
    position_BN = torch.arange(frames, device=wave_BT.device) * factor_B[:, None]
    lower_BN = position_BN.floor()
    share_BN1 = (position_BN - lower_BN)[:, :, None]
    offset_B1 = torch.arange(B, device=wave_BT.device)[:, None] * N
    low_BN = (lower_BN.long() % N + offset_B1).flatten()
    high_BN = ((lower_BN.long() + 1) % N + offset_B1).flatten()

    def at(value_BNF: Tensor, place_BN: Tensor) -> Tensor:
        return value_BNF.flatten(0, 1).index_select(0, place_BN).view(B, frames, -1)

    size_BNF = torch.lerp(at(size_BNF, low_BN), at(size_BNF, high_BN), share_BN1)
    step_BNF = at(phase_BNF, high_BN).sub_(at(phase_BNF, low_BN))
    turn_BNF = torch.cat((phase_BNF[:, :1], step_BNF[:, :-1]), dim=1).cumsum(dim=1)
    return torch.complex(turn_BNF.cos().mul_(size_BNF), turn_BNF.sin().mul_(size_BNF))


def _lay(spectrum_BNF: Tensor, window_W: Tensor) -> Tensor:
    """Waves of overlapping frames, a quarter of a frame apart, weighted for the least square error."""
    W, (B, N, _) = len(window_W), spectrum_BNF.shape
    frames_BNW = torch.fft.irfft(spectrum_BNF, n=W).mul_(window_W)
    summed_BNL = frames_BNW.new_zeros((B, N + 3, W // 4))
    weight_NL = frames_BNW.new_zeros((N + 3, W // 4))
    for quarter in range(4):
        part = slice(quarter * W // 4, (quarter + 1) * W // 4)
        summed_BNL[:, quarter : quarter + N] += frames_BNW[:, :, part]
        weight_NL[quarter : quarter + N] += window_W[part].square()
    return summed_BNL.div_(weight_NL.clamp_(min=1e-6)).flatten(1)


def resample(wave_BT: Tensor, factor_B: Tensor, samples: int, fastest: float) -> Tensor:
    """Read so many samples of each clip `factor` times as fast, without aliasing: the better form of `speed`.

    What would come to lie above half the sample rate is removed; the rest is interpolated by cubic polynomials
    (Catmull and Rom 1974) on a grid that a Fourier transform has made twice as fine. Ends as in `speed`.
    """
    T = wave_BT.shape[1]
    spectrum_BF = torch.fft.rfft(wave_BT)
    keep_BF = torch.arange(spectrum_BF.shape[1], device=wave_BT.device) * factor_B[:, None] < T / 2
    fine_BT = torch.fft.irfft(spectrum_BF * keep_BF, n=FINER * T).mul_(FINER)
    return read(fine_BT, factor_B * FINER, samples, fastest * FINER, cubic=True)


def read(wave_BT: Tensor, factor_B: Tensor, samples: int, fastest: float, cubic: bool = False) -> Tensor:
    """Each clip's samples at 0, factor, 2 factor ..., wrapping round at its end [B, samples]."""
    B, T = wave_BT.shape
    reach = math.ceil(PIECE * fastest) + 4  # no piece reads further than this from its start
    around_BT = torch.cat((wave_BT[:, -1:], *[wave_BT] * (1 + reach // T), wave_BT[:, : reach % T]), dim=1)
    piece_P = torch.arange(math.ceil(samples / PIECE), device=wave_BT.device, dtype=torch.float64)
    start_BP = piece_P * PIECE * factor_B[:, None].double()
    whole_BP = start_BP.floor()
    within_L = torch.arange(PIECE, device=wave_BT.device, dtype=torch.float32)
    position_BPL = (start_BP - whole_BP).float()[:, :, None] + within_L * factor_B[:, None, None].float()
    place_BPL = position_BPL.int()  # 32 bits: half the time of 64
    share = position_BPL.sub_(place_BPL).flatten()
    row_B1 = torch.arange(B, device=wave_BT.device)[:, None] * around_BT.shape[1]
    place = place_BPL.add_((row_B1 + whole_BP.long() % T).int()[:, :, None]).flatten()
    flat = around_BT.flatten()
    low, high = (flat[shift:].index_select(0, place) for shift in (1, 2))
    if cubic:
        before, after = (flat[shift:].index_select(0, place) for shift in (0, 3))
        curve = (low - high).mul_(3.0).add_(after).sub_(before).mul_(share)
        curve.add_(before, alpha=2.0).add_(low, alpha=-5.0).add_(high, alpha=4.0).sub_(after).mul_(share)
        value = curve.add_(high).sub_(before).mul_(share).mul_(0.5).add_(low)
    else:
        value = torch.lerp(low, high, share)
    return value.view(B, -1)[:, :samples]


def _power(wave_BT: Tensor) -> Tensor:
    """Mean square [B]."""
    return wave_BT.square().mean(dim=1)
