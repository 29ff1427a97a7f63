"""Features on short-time spectra: log-mel, MFCC, gammatone.

Shape letters: B batch, T samples, R resolutions (1 or 3), N frames, W samples of a frame, F FFT bins, G nodes, M bands,
C channels, H rows of the feature.

Conventions: waves are float32 in [-1, 1], mono, at the sample rate the module was made for; frames are centred
with zeros beyond the ends (librosa's `center=True, pad_mode="constant"`), so any length gives 1 + T // hop frames.
Each clip is treated alone: a loud neighbour changes nothing.

A spectrogram is made in three stages, so that a training can keep the latest one that no augmentation changes:
`power` (of the STFT; `thin` makes it smaller), `pool` or `warped` (summed into bands), `finish` (compression,
channels, normalisation).
"""

from collections.abc import Iterable
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from .banks import Bank, GammatoneBank, MelBank, Warp, a_weight
from .compress import decibels, log, pcen, smoothing
from .feature_configs import GammatoneConfig, LogMelConfig, MfccConfig
from .stacks import deltas, freedom, noise_power, thirds, windows

CACHE = 2**20  # numbers worked on at once on a CPU: staying in its cache is 1.7 times faster
EPS = 1e-5  # a constant clip is divided by this, not by zero
COLOURS = {"white": 0, "pink": 1, "brown": 2}  # power falls with this power of frequency; place in noise_SRM


class Spectrogram(nn.Module):
    """Wave [B, T] -> normalised spectrogram [B, C, H, N], N = 1 + T // hop.

    Raises:
        ValueError: the sample rate cannot give the bands asked for.
    """

    gives: ClassVar[str] = "spectrogram"
    banks: ClassVar[type[Bank]] = MelBank
    window_RW: Tensor
    mean_CH: Tensor
    std_CH: Tensor
    loud_F2: Tensor
    noise_SRM: Tensor
    freedom_RM: Tensor

    def __init__(self, config: LogMelConfig | MfccConfig | GammatoneConfig, sample_rate: int) -> None:
        super().__init__()
        config.check(sample_rate)
        self.config, self.sample_rate, self.hop = config, sample_rate, config.hop
        top = config.highest(sample_rate)
        self.bank = self.banks(config.bands, config.fmin, top, config.n_fft, sample_rate)
        window_RW = windows(config.n_fft, config.window, config.stack)
        bank_FM = self.bank.bank_FM.double()
        noise_SRM = torch.stack(
            [noise_power(window_RW, sample_rate, slope) @ bank_FM for slope in COLOURS.values()]
        )
        # Parseval: the two halves of a spectrum hold the windowed samples' energy, DC and the highest bin once
        share_F = torch.full((config.n_fft // 2 + 1,), 2 / config.n_fft, dtype=torch.float64)
        share_F[[0, -1]] /= 2
        share_F /= window_RW[-1].square().sum()
        loud_F2 = torch.stack((share_F, share_F * a_weight(self.bank.freq_F.double())), dim=1)
        channels = 1 + config.deltas if config.stack != "resolutions" else 3
        self.register_buffer("mean_CH", torch.zeros(channels, config.rows))
        self.register_buffer("std_CH", torch.ones(channels, config.rows))
        self.register_buffer("window_RW", window_RW.float(), persistent=False)
        self.register_buffer("loud_F2", loud_F2.float(), persistent=False)
        self.register_buffer("noise_SRM", noise_SRM.float(), persistent=False)
        self.register_buffer("freedom_RM", freedom(window_RW, bank_FM).float(), persistent=False)

    def _power(self, wave_BT: Tensor, first: int, last: int) -> Tensor:
        """Power [B, R, N, last - first] of some FFT bins."""
        n_fft = self.config.n_fft
        frame_B1NW = functional.pad(wave_BT, (n_fft // 2, n_fft // 2)).unfold(1, n_fft, self.hop)[:, None]
        spectrum_BRNF = torch.fft.rfft(frame_B1NW * self.window_RW[:, None])[..., first:last]
        square_BRNF2 = torch.view_as_real(
            spectrum_BRNF
        ).square_()  # twice as fast as anything on complex numbers
        return square_BRNF2[..., 0] + square_BRNF2[..., 1]

    def _parts(self, x: Tensor, size: int) -> tuple[Tensor, ...]:
        """The batch in parts that stay in the cache of a CPU, if an example needs `size` numbers."""
        return torch.split(x, max(1, CACHE // size)) if x.device.type == "cpu" else (x,)

    def _waves(self, wave_BT: Tensor) -> tuple[Tensor, ...]:
        frames = self.frames(wave_BT.shape[1])
        return self._parts(wave_BT, len(self.window_RW) * frames * self.config.n_fft)

    def power(self, wave_BT: Tensor) -> Tensor:
        """|STFT|^2 [B, R, N, F]."""
        last = self.config.n_fft // 2 + 1
        return torch.cat([self._power(part_BT, 0, last) for part_BT in self._waves(wave_BT)])

    def pool(self, power_BRNF: Tensor) -> Tensor:
        """Band power [B, R, N, M]."""
        return self.bank(power_BRNF)

    def thin(self, power_BRNF: Tensor) -> Tensor:
        """Power around the nodes of the bank [B, R, N, G], which is all that `warped` needs of it."""
        return self.bank.thin(power_BRNF)

    def warped(self, thin_BRNG: Tensor, warp: Warp) -> Tensor:
        """Band power [B, R, N, M] through each example's own bank.

        A sound shifted by the ratio r looks, through the plain bank, as it looks now through the bank warped by r:
        one that has nothing above half the sample rate has nothing above r times that when it is shifted down.
        """
        return self.bank.warped(thin_BRNG, warp)

    def band_power(self, wave_BT: Tensor) -> Tensor:
        """`pool(power(wave))` [B, R, N, M], only for bins that the bank sees."""
        first, last = self.bank.first, self.bank.last
        return torch.cat(
            [self.bank(self._power(part_BT, first, last), first) for part_BT in self._waves(wave_BT)]
        )

    def compressed(self, band_BRNM: Tensor) -> Tensor:
        """Compressed band power [B, R, N, H], before derivatives and normalisation."""
        config = self.config
        if config.compression == "db":
            return decibels(band_BRNM)
        if config.compression == "log":
            return log(band_BRNM)
        assert not isinstance(config, MfccConfig), "a config has refused this"
        s = smoothing(config.pcen_time, self.sample_rate, self.hop)
        return pcen(band_BRNM, s, config.pcen_gain, config.pcen_bias, config.pcen_power)

    def finish(self, band_BRNM: Tensor) -> Tensor:
        """Compression, derivatives, normalisation, channels: contiguous [B, C, H, N]."""
        x_BCNH = deltas(self.compressed(band_BRNM), self.config.deltas)
        if self.config.normalise == "clip":
            x_BCNH = standardise(x_BCNH, (2, 3))
        elif self.config.normalise == "dataset":
            x_BCNH = (x_BCNH - self.mean_CH[:, None]).div_(self.std_CH[:, None])
        x_BCHN = x_BCNH.transpose(2, 3)
        return (thirds(x_BCHN) if self.config.stack == "bands" else x_BCHN).contiguous()

    def forward(self, wave_BT: Tensor) -> Tensor:
        return self.finish(self.band_power(wave_BT))

    @torch.no_grad()
    def fit(self, bands: Iterable[Tensor]) -> None:
        """Take mean and deviation of each channel and row over all frames of training clips.

        Per row, because the spectrum of sound falls by tens of dB towards the top. Only "dataset" needs it.

        Args:
            bands: batches of band power [B, R, N, M] (`band_power`); on any device.
        """
        if self.config.normalise != "dataset":
            return
        count = 0
        sum_CH = torch.zeros_like(self.mean_CH, dtype=torch.float64)
        square_CH = torch.zeros_like(sum_CH)
        for band_BRNM in bands:
            x_BCNH = deltas(self.compressed(band_BRNM.to(self.mean_CH)), self.config.deltas).double()
            count += x_BCNH.shape[0] * x_BCNH.shape[2]
            sum_CH += x_BCNH.sum(dim=(0, 2))
            square_CH += x_BCNH.square_().sum(dim=(0, 2))
        assert count, "no training clips to take statistics from"
        mean_CH = sum_CH / count
        self.mean_CH.copy_(mean_CH)
        self.std_CH.copy_((square_CH / count - mean_CH.square()).clamp(min=EPS**2).sqrt())

    def frames(self, samples: int) -> int:
        """Number of frames of a wave of so many samples."""
        return 1 + samples // self.hop

    def shape(self, samples: int) -> tuple[int, int, int]:
        """Shape of the feature of one wave of so many samples: [C, H, N]."""
        return self.config.shape(samples)

    def loudness(self, power_BRNF: Tensor) -> Tensor:
        """Mean square of the samples under each frame's longest window, plain and A-weighted: [B, N, 2].

        The mean over frames of the first estimates `wave.square().mean()`.
        """
        return power_BRNF[:, -1] @ self.loud_F2

    def noise(self, colour: str) -> Tensor:
        """Expected band power [R, M] of stationary noise of unit variance, "white", "pink" or "brown".

        Its power falls with the 0th, 1st or 2nd power of frequency, from 20 Hz on.
        """
        return self.noise_SRM[COLOURS[colour]]


class LogMel(Spectrogram):
    """Mel spectrogram, compressed."""


class Gammatone(Spectrogram):
    """Gammatone spectrogram, compressed."""

    banks = GammatoneBank


class Mfcc(Spectrogram):
    """Mel-frequency cepstral coefficients, as `librosa.feature.mfcc` (DCT-II, orthonormal)."""

    dct_MH: Tensor

    def __init__(self, config: MfccConfig, sample_rate: int) -> None:
        super().__init__(config, sample_rate)
        from torchaudio.functional import create_dct  # costs half a second: who builds no MFCC does not pay

        dct_MH = create_dct(config.n_mfcc, config.n_mels, norm="ortho")
        self.register_buffer("dct_MH", dct_MH, persistent=False)

    def compressed(self, band_BRNM: Tensor) -> Tensor:
        """Coefficients [B, R, N, H], before derivatives and normalisation."""
        return super().compressed(band_BRNM) @ self.dct_MH


def standardise(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Zero mean and unit deviation over these axes; what is constant becomes zeros."""
    x = x - x.mean(dim=axes, keepdim=True)
    return x / x.square().mean(dim=axes, keepdim=True).sqrt().clamp_(min=EPS)
