"""Filter banks: weights that sum the bins of a power spectrum into bands, and their warping.

Shape letters: B batch, R resolutions, N frames, F FFT bins, G nodes, M bands, E = M + 2 edges of bands.
Frequencies are in Hz. Every band has unit area over frequency (power times Hz), so that white noise has the same
level in all bands, of both kinds of bank.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn

from .sparse import groups_of, hats, product

EAR_Q, LEAST_ERB = 9.26449, 24.7  # Glasberg and Moore 1990, Hearing Research 47:103-138
FINE = 4  # nodes in half the width of a band


@dataclass(frozen=True)
class Warp:
    """The bank of each example of a batch: what pitch shift, speed change and frequency jitter do to it."""

    ratio_B: Tensor  # frequency ratio of the sound, 2 ** (semitones / 12): the bank's edges are divided by it
    low_B: Tensor  # Hz added to the lower edge of the bank, before that
    high_B: Tensor  # Hz added to the upper edge; at least half of the range always remains


class Bank(nn.Module, ABC):
    """Power spectrum [B, R, N, F] -> band power [B, R, N, M]. Its numbers have been checked by a config."""

    bank_FM: Tensor
    freq_F: Tensor
    width_M: Tensor
    node_G: Tensor
    hat_FG: Tensor

    def __init__(self, bands: int, fmin: float, fmax: float, n_fft: int, sample_rate: int) -> None:
        super().__init__()
        self.bands, self.fmin, self.fmax, self.bin = bands, fmin, fmax, sample_rate / n_fft
        none_1 = torch.zeros(1, dtype=torch.float64)  # a plain bank is one that is warped by nothing
        freq_F = torch.arange(n_fft // 2 + 1, dtype=torch.float64) * self.bin
        self.register_buffer("freq_F", freq_F, persistent=False)
        self.register_buffer("width_M", self.places(none_1, none_1)[1][0], persistent=False)
        self.register_buffer("bank_FM", self.weights(Warp(none_1 + 1, none_1, none_1))[0], persistent=False)
        hat_FG = hats(self._nodes(), n_fft // 2 + 1)
        self.register_buffer("hat_FG", hat_FG, persistent=False)
        self.register_buffer("node_G", freq_F @ (hat_FG == 1).double(), persistent=False)
        self.float()
        self.groups = groups_of(self.bank_FM > 0)
        self.hat_groups = groups_of(self.hat_FG > 0)
        self.first, self.last = min(g[0] for g in self.groups), max(g[1] for g in self.groups)

    @abstractmethod
    def places(self, low_B: Tensor, high_B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of the bands of a bank that is not shifted: centre, width and factor to unit area, [B, M] each.

        A triangle has two widths: those to the left, then those to the right of the centres, [B, 2M].
        """

    @abstractmethod
    def weights(self, warp: Warp, freq: Tensor | None = None) -> Tensor:
        """The bank of each example [B, F, M], or its weights at other frequencies.

        The unit area is that of the bank before its edges are divided, for that is what a shifted sound would meet.
        Where that would make a band narrower than the FFT resolves, it keeps its width, or one bin if that is less.
        """

    def _narrowed(self, width: Tensor, ratio_B1: Tensor) -> Tensor:
        return torch.maximum(width / ratio_B1, self.width_M.clamp(max=self.bin).to(width))

    def _range(self, low_B: Tensor, high_B: Tensor) -> tuple[Tensor, Tensor]:
        """Lower and upper edge [B, 1]."""
        middle = (self.fmin + self.fmax) / 2
        low_B = (self.fmin + low_B).clamp(max=self.fmin + 0.25 * (self.fmax - self.fmin))
        return low_B[:, None], (self.fmax + high_B).clamp(min=middle)[:, None]

    def forward(self, power_BRNF: Tensor, first: int = 0) -> Tensor:
        """Sum bins into bands. `first` is the bin with which a cut spectrum begins."""
        return product(power_BRNF, self.bank_FM, self.groups, first)

    def thin(self, power_BRNF: Tensor) -> Tensor:
        """Sum bins into what any warp of this bank can be made of, [B, R, N, G]: the power around each node.

        A weight that is linear between nodes sums bins to what its values at the nodes sum of these. Nodes lie
        a quarter of half a band's width apart, and no closer than bins: a tone loses at most an eighth (0.6 dB),
        noise nothing, and there is half as much to keep and a third to compute.
        """
        return product(power_BRNF, self.hat_FG, self.hat_groups, 0)

    def warped(self, thin_BRNG: Tensor, warp: Warp) -> Tensor:
        """Sum what `thin` gave into the bands of each example's own bank: [B, R, N, M]."""
        weight_BGM = self.weights(warp, self.node_G)
        band_BNM = torch.bmm(thin_BRNG.flatten(1, 2), weight_BGM)
        return band_BNM.view(*thin_BRNG.shape[:-1], self.bands)

    def _nodes(self) -> list[int]:
        """The bins that `thin` sums around, the first and the last of all among them."""
        none_1 = torch.zeros(1, dtype=torch.float64)
        centre_M, width_M = self.places(none_1, none_1)[0][0], self.width_M
        width_M = torch.minimum(*width_M.chunk(2)) if len(width_M) > len(centre_M) else width_M
        bins, last = [0], len(self.freq_F) - 1
        while bins[-1] < last:
            near = int((centre_M - bins[-1] * self.bin).abs().argmin())
            bins.append(min(last, bins[-1] + max(1, int(width_M[near] / self.bin / FINE))))
        return bins


class MelBank(Bank):
    """Triangles between edges at equal steps on Slaney's mel scale, as `librosa.filters.mel`."""

    def places(self, low_B: Tensor, high_B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        edge_BE = mel_edges(*self._range(low_B, high_B), self.bands)
        left_BM, right_BM = edge_BE.diff(dim=1)[:, :-1], edge_BE.diff(dim=1)[:, 1:]
        return edge_BE[:, 1:-1], torch.cat((left_BM, right_BM), dim=1), 2 / (left_BM + right_BM)

    def weights(self, warp: Warp, freq: Tensor | None = None) -> Tensor:
        centre_BM, width_B2M, scale_BM = self.places(warp.low_B, warp.high_B)
        ratio_B1 = warp.ratio_B[:, None]
        left_BM, right_BM = self._narrowed(width_B2M, ratio_B1).chunk(2, dim=1)
        centre_BM = centre_BM / ratio_B1
        up_BM, down_BM = scale_BM / left_BM, scale_BM / right_BM
        freq_F1 = (self.freq_F if freq is None else freq)[:, None]
        up_BFM = torch.addcmul((scale_BM - centre_BM * up_BM)[:, None], freq_F1, up_BM[:, None])
        down_BFM = torch.addcmul(
            (scale_BM + centre_BM * down_BM)[:, None], freq_F1, down_BM[:, None], value=-1
        )
        return torch.minimum(up_BFM, down_BFM).clamp_(min=0.0)


class GammatoneBank(Bank):
    """Power responses of fourth-order gammatone filters, (1 + ((f - f_k) / b_k)^2)^-4 with b = 1.019 ERB(f_k).

    Patterson et al. 1992; as a matrix on the spectrum: Ellis 2009, "Gammatone-like spectrograms". The closed form is
    that of the analog filter; it agrees with the digital one to hundredths of a dB within one ERB of the centre.
    """

    def places(self, low_B: Tensor, high_B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        centre_BM = erb_space(*self._range(low_B, high_B), self.bands)
        width_BM = 1.019 * erb(centre_BM)
        return centre_BM, width_BM, 16 / (5 * math.pi * width_BM)  # the area under (1 + x^2)^-4 is 5 pi / 16

    def weights(self, warp: Warp, freq: Tensor | None = None) -> Tensor:
        centre_BM, width_BM, scale_BM = self.places(warp.low_B, warp.high_B)
        ratio_B1 = warp.ratio_B[:, None]
        slope_BM = 1 / self._narrowed(width_BM, ratio_B1)
        offset_BM = centre_BM / ratio_B1 * slope_BM
        freq_F1 = (self.freq_F if freq is None else freq)[:, None]
        x_BFM = torch.addcmul(-offset_BM[:, None], freq_F1, slope_BM[:, None])
        return x_BFM.square_().add_(1).square_().square_().reciprocal_().mul_(scale_BM[:, None])


def mel(hertz: Tensor) -> Tensor:
    """Slaney's scale: linear to 1 kHz (15 mel), then 27 mel for a factor of 6.4 (Auditory Toolbox, 1998)."""
    return torch.where(
        hertz < 1000, hertz * 3 / 200, 15 + 27 * (hertz.clamp(min=1) / 1000).log() / math.log(6.4)
    )


def hertz(mel: Tensor) -> Tensor:
    """The inverse of `mel`."""
    return torch.where(mel < 15, mel * 200 / 3, 1000 * ((mel - 15) * (math.log(6.4) / 27)).exp())


def mel_edges(low_B1: Tensor, high_B1: Tensor, bands: int) -> Tensor:
    """Edges [B, bands + 2] of overlapping bands at equal mel steps: band k reaches from edge k to edge k + 2."""
    share_E = torch.arange(bands + 2, device=low_B1.device, dtype=low_B1.dtype) / (bands + 1)
    return hertz(torch.lerp(mel(low_B1), mel(high_B1), share_E))


def erb(hertz: Tensor) -> Tensor:
    """Equivalent rectangular bandwidth in Hz, f / 9.26449 + 24.7 (Glasberg and Moore 1990): 132.639 at 1 kHz."""
    return hertz / EAR_Q + LEAST_ERB


def erb_space(low_B1: Tensor, high_B1: Tensor, bands: int) -> Tensor:
    """Ascending centres [B, bands] at equal steps on the ERB-rate scale; contain `low`, not `high`.

    Slaney 1993, Apple Technical Report 35, `ErbSpace`.
    """
    offset = EAR_Q * LEAST_ERB
    share_M = torch.arange(bands, device=low_B1.device, dtype=low_B1.dtype) / bands
    return (low_B1 + offset) * ((high_B1 + offset) / (low_B1 + offset)) ** share_M - offset


def a_weight(hertz: Tensor) -> Tensor:
    """A-weighting of power (IEC 61672-1): 1 at 1 kHz, 0.0123 (-19.1 dB) at 100 Hz."""
    f2 = hertz.double().square()
    amplitude = 12194.0**2 * f2.square() / ((f2 + 20.6**2) * (f2 + 12194.0**2))
    amplitude /= ((f2 + 107.7**2) * (f2 + 737.9**2)).sqrt()
    return (amplitude.square() * 10**0.2).to(hertz)  # 2.00 dB bring 1 kHz to 0 dB


@cache
def check_mel(n_mels: int, fmin: float, fmax: float, n_fft: int, sample_rate: int) -> None:
    """Refuse so many bands that one of them holds no FFT bin, naming the first such band."""
    ends = torch.tensor([[fmin], [fmax]], dtype=torch.float64)
    edges = mel_edges(ends[:1], ends[1:], n_mels)[0].tolist()
    bin_width = sample_rate / n_fft
    for begin, end in zip(edges, edges[2:], strict=False):
        if (math.floor(begin / bin_width + 1e-6) + 1) * bin_width >= end * (1 - 1e-9):
            raise ValueError(
                f"feature.n_mels is {n_mels}, too many for feature.n_fft = {n_fft} at {sample_rate} Hz: "
                f"the band {begin:.0f}-{end:.0f} Hz holds no FFT bin; take fewer bands or a longer FFT"
            )


def check_gammatone(fmin: float, n_fft: int, sample_rate: int) -> None:
    """Refuse a lowest band that is narrower than one FFT bin."""
    width, bin_width = 1.019 * (fmin / EAR_Q + LEAST_ERB), sample_rate / n_fft
    if width < bin_width:
        raise ValueError(
            f"feature.fmin is {fmin} Hz: its band is {width:.1f} Hz wide, narrower than the {bin_width:.1f} Hz of an "
            f"FFT bin with feature.n_fft = {n_fft} at {sample_rate} Hz; take a longer FFT or a higher feature.fmin"
        )
