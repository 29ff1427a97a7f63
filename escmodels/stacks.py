"""Channels of a spectrogram: derivatives in time, windows of several lengths, parts of the band axis.

Shape letters: B batch, C channels, N frames, M rows (bands), R resolutions, W = n_fft samples of a frame, F FFT bins.
"""

import torch
from torch import Tensor

FLAT_BELOW = 20.0  # Hz: pink and brown noise do not rise further towards 0 Hz
WIDTH = 9  # frames that a derivative looks at, as `librosa.feature.delta`


def deltas(x_B1NM: Tensor, order: int) -> Tensor:
    """The spectrogram and its first `order` (0 to 2) derivatives in time as channels [B, 1 + order, N, M].

    Savitzky-Golay: slope of the line, second derivative of the parabola, that fits nine frames best; frames beyond
    the ends repeat the last one. Agrees with `librosa.feature.delta(order=1 and 2, mode="nearest")`.
    """
    if order == 0:
        return x_B1NM
    half, N = WIDTH // 2, x_B1NM.shape[2]
    before_B1KM, after_B1KM = (end.expand(-1, -1, half, -1) for end in (x_B1NM[:, :, :1], x_B1NM[:, :, -1:]))
    padded_B1KM = torch.cat((before_B1KM, x_B1NM, after_B1KM), dim=2)
    bowl = [at**2 - (WIDTH**2 - 1) / 12 for at in range(-half, half + 1)]  # a parabola of mean zero
    fits = [[at / 60 for at in range(-half, half + 1)], [2 * b / sum(b**2 for b in bowl) for b in bowl]]
    channels = [x_B1NM]
    for fit in fits[:order]:
        fitted_B1NM = padded_B1KM[:, :, :N] * fit[0]
        for place in range(1, WIDTH):  # one product with nine frames at once takes nearly twice as long
            fitted_B1NM.add_(padded_B1KM[:, :, place : place + N], alpha=fit[place])
        channels.append(fitted_B1NM)
    return torch.cat(channels, dim=1)


def thirds(x_B1MN: Tensor) -> Tensor:
    """Low, middle and high third of the bands as channels [B, 3, M / 3, N] (Guzhov et al. 2020, ESResNet)."""
    B, _, M, N = x_B1MN.shape
    return x_B1MN.reshape(B, 3, M // 3, N)


def windows(n_fft: int, window: int, stack: str) -> Tensor:
    """Periodic Hann windows [R, n_fft], float64, zero beyond their ends and in the middle of the frame.

    One of `window` samples (0 = n_fft); or, as channels for a net that takes three, of n_fft / 4, n_fft / 2 and n_fft
    samples (Palanisamy et al. 2020, arXiv 2007.11154), there scaled to the same energy: noise then has the same level
    in all three, and so has a tone wherever a band is wider than the lobe of the shortest window.
    """
    lengths = [n_fft // 4, n_fft // 2, n_fft] if stack == "resolutions" else [window or n_fft]
    window_RW = torch.zeros(len(lengths), n_fft, dtype=torch.float64)
    for row_W, length in zip(window_RW, lengths, strict=True):
        begin = (n_fft - length) // 2
        row_W[begin : begin + length] = torch.hann_window(length, dtype=torch.float64)
    energy_R1 = window_RW.square().sum(dim=1, keepdim=True)
    return window_RW * (energy_R1[-1] / energy_R1).sqrt()


def noise_power(window_RW: Tensor, sample_rate: int, slope: int) -> Tensor:
    """Expected |STFT|^2 [R, F] of stationary noise of unit variance whose power falls with frequency^-slope.

    Flat below FLAT_BELOW. Exact: the noise's autocovariance times the window's autocorrelation, transformed, so that
    what leaks from strong low frequencies into weak high ones is counted.
    """
    fine = 16 * window_RW.shape[1]  # points of the grid on which the noise's own spectrum is sampled
    freq = torch.arange(fine // 2 + 1, dtype=torch.float64) * sample_rate / fine
    covariance = torch.fft.irfft(freq.clamp(min=FLAT_BELOW) ** -slope, fine)
    overlap_R = torch.fft.irfft(torch.fft.rfft(window_RW.double(), fine).abs().square(), fine)
    return torch.fft.rfft(overlap_R * covariance / covariance[0]).real[:, ::16]


def freedom(window_RW: Tensor, bank_FM: Tensor) -> Tensor:
    """How many independent FFT bins each band is worth, [R, M]: (sum W)^2 / sum_ij W_i W_j |rho_ij|^2.

    The power of Gaussian noise in a band has mean P and variance P^2 / freedom. rho is the correlation of two bins of
    white noise, the transform of the squared window: 2/3 and 1/6 for neighbours under a Hann window as long as the FFT.
    """
    F, bank_FM = len(bank_FM), bank_FM.double()
    square_RW = window_RW.double().square()
    near_RF = (torch.fft.rfft(square_RW).abs() / square_RW.sum(dim=1, keepdim=True)).square()
    near_RF[:, 1:] *= 2  # neighbours on both sides
    overlap_FM = torch.fft.irfft(torch.fft.rfft(bank_FM, 2 * F, dim=0).abs().square(), 2 * F, dim=0)[:F]
    return bank_FM.sum(dim=0).square() / (near_RF @ overlap_FM)
