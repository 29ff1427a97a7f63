"""Features: what a net sees of a wave, as batched modules.

Shape letters: B batch, T samples, N frames, W samples of a frame, F bins, M bands.

Conventions: waves are float32 in [-1, 1], mono, at the sample rate the module was made for; frames are centred
with zeros beyond the ends (librosa's `center=True, pad_mode="constant"`), so any length gives 1 + T // hop frames.
Each clip is treated alone: a loud neighbour changes nothing.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from .checks import one_of, within

FLOOR = 1e-10  # power of a mel band that counts as silence: -100 dB, just below the noise of 16-bit audio
CACHE = 2**20  # samples of frames worked on at once on a CPU: staying in its cache is 1.7 times faster
EPS = 1e-5  # a constant clip is divided by this, not by zero


@dataclass(frozen=True)
class LogMelConfig:
    """Log-mel spectrogram in dB (Slaney's mel scale and area normalisation, power, Hann window)."""

    n_mels: int = 64
    n_fft: int = 1024  # samples of a frame
    hop: int = 512  # samples between frames
    fmin: float = 50.0  # Hz
    fmax: float = 0.0  # Hz; 0 = half the sample rate
    normalise: str = (
        "dataset"  # dataset: mean and deviation of each band over training clips; clip: of the clip
    )

    def __post_init__(self) -> None:
        within("feature.n_mels", self.n_mels, 4, 512)
        within("feature.n_fft", self.n_fft, 64, 16384)
        within("feature.hop", self.hop, 16, 8192)
        within("feature.fmin", self.fmin, 0.0, 20000.0)
        within("feature.fmax", self.fmax, 0.0, 96000.0)
        one_of("feature.normalise", self.normalise, ("dataset", "clip"))
        if self.n_fft % 2:
            raise ValueError(f"feature.n_fft is {self.n_fft}, expected an even number of samples")
        if self.hop > self.n_fft:
            raise ValueError(
                f"feature.hop is {self.hop}, expected at most feature.n_fft = {self.n_fft} samples"
            )
        if self.fmax and self.fmax <= self.fmin:
            raise ValueError(
                f"feature.fmax is {self.fmax} Hz, expected 0 or more than feature.fmin = {self.fmin} Hz"
            )

    def check(self, sample_rate: int) -> None:
        """Refuse what this sample rate (Hz) cannot give, without building anything.

        Raises:
            ValueError: `fmax` above half the rate, or so many bands that one of them holds no FFT bin.
        """
        nyquist = sample_rate / 2
        top = self.fmax or nyquist
        if top > nyquist:
            raise ValueError(f"feature.fmax is {top} Hz, expected at most half the sample rate, {nyquist} Hz")
        if top <= self.fmin:
            raise ValueError(
                f"feature.fmin is {self.fmin} Hz, expected less than half the sample rate, {nyquist} Hz"
            )
        low, high = _mel(self.fmin), _mel(top)
        edges = [_hertz(low + (high - low) * k / (self.n_mels + 1)) for k in range(self.n_mels + 2)]
        bin_width = sample_rate / self.n_fft
        for begin, end in zip(edges, edges[2:], strict=False):
            if (math.floor(begin / bin_width + 1e-6) + 1) * bin_width >= end * (1 - 1e-9):
                raise ValueError(
                    f"feature.n_mels is {self.n_mels}, too many for feature.n_fft = {self.n_fft} at {sample_rate} Hz: "
                    f"the band {begin:.0f}-{end:.0f} Hz holds no FFT bin; take fewer bands or a longer FFT"
                )


@dataclass(frozen=True)
class WaveformConfig:
    """The samples themselves."""

    normalise: str = "none"  # clip: zero mean and unit deviation for each clip

    def __post_init__(self) -> None:
        one_of("feature.normalise", self.normalise, ("none", "clip"))

    def check(self, sample_rate: int) -> None:
        """Any rate will do."""


FeatureConfig = LogMelConfig | WaveformConfig


class LogMel(nn.Module):
    """Wave [B, T] -> normalised log-mel [B, 1, M, N], N = 1 + T // hop.

    Raises:
        ValueError: the sample rate cannot give the bands asked for.
    """

    gives: ClassVar[str] = "spectrogram"
    window_W: Tensor
    bank_FM: Tensor
    mean_M: Tensor
    std_M: Tensor

    def __init__(self, config: LogMelConfig, sample_rate: int) -> None:
        super().__init__()
        config.check(sample_rate)
        from torchaudio.functional import melscale_fbanks  # costs half a second: raw nets do not pay

        self.config = config
        n_bins, top = config.n_fft // 2 + 1, config.fmax or sample_rate / 2
        bank_FM = melscale_fbanks(n_bins, config.fmin, top, config.n_mels, sample_rate, "slaney", "slaney")
        self.register_buffer("window_W", torch.hann_window(config.n_fft), persistent=False)
        self.register_buffer("bank_FM", bank_FM, persistent=False)
        self.register_buffer("mean_M", torch.zeros(config.n_mels))
        self.register_buffer("std_M", torch.ones(config.n_mels))

    def power(self, wave_BT: Tensor) -> Tensor:
        """Mel power [B, N, M], before logarithm and normalisation."""
        half = self.config.n_fft // 2
        frames_BNW = functional.pad(wave_BT, (half, half)).unfold(1, self.config.n_fft, self.config.hop)
        parts_BNF2 = torch.view_as_real(torch.fft.rfft(frames_BNW * self.window_W))
        real_BNF, imag_BNF = parts_BNF2.unbind(-1)
        power_BNF = (real_BNF * real_BNF).addcmul_(imag_BNF, imag_BNF)
        return power_BNF @ self.bank_FM

    def decibels(self, wave_BT: Tensor) -> Tensor:
        """Log-mel [B, N, M] in dB re power 1, not normalised."""
        frame_samples = self.shape(wave_BT.shape[1])[2] * self.config.n_fft
        rows = max(1, CACHE // frame_samples) if wave_BT.device.type == "cpu" else len(wave_BT)
        power_BNM = torch.cat([self.power(part_BT) for part_BT in torch.split(wave_BT, rows)])
        return power_BNM.clamp_(min=FLOOR).log10_().mul_(10.0)

    def forward(self, wave_BT: Tensor) -> Tensor:
        db_BNM = self.decibels(wave_BT)
        if self.config.normalise == "clip":
            db_BNM = _standardise(db_BNM)
        else:
            db_BNM = (db_BNM - self.mean_M).div_(self.std_M)
        return db_BNM.transpose(1, 2).unsqueeze(1).contiguous()

    @torch.no_grad()
    def fit(self, waves: Iterable[Tensor]) -> None:
        """Take mean and deviation of each band over all frames of the training waves (batches [B, T]).

        Per band, because the spectrum of sound falls by tens of dB towards the top. Only "dataset" needs it.
        """
        if self.config.normalise != "dataset":
            return
        count = 0
        sums_2M = torch.zeros(2, self.config.n_mels, dtype=torch.float64)
        for wave_BT in waves:
            db_FM = self.decibels(wave_BT.to(self.window_W)).flatten(0, 1).double()
            count += len(db_FM)
            sums_2M += torch.stack((db_FM.sum(0), db_FM.square().sum(0))).cpu()
        assert count, "no training waves to take statistics from"
        mean_M, square_M = sums_2M / count
        self.mean_M.copy_(mean_M)
        self.std_M.copy_((square_M - mean_M.square()).clamp(min=EPS**2).sqrt())

    def shape(self, samples: int) -> tuple[int, int, int]:
        """Shape of the feature of one wave of so many samples: [1, M, N]."""
        return (1, self.config.n_mels, 1 + samples // self.config.hop)


class Waveform(nn.Module):
    """Wave [B, T] -> [B, 1, T]."""

    gives: ClassVar[str] = "waveform"

    def __init__(self, config: WaveformConfig, sample_rate: int) -> None:
        super().__init__()
        config.check(sample_rate)
        self.config = config

    def forward(self, wave_BT: Tensor) -> Tensor:
        wave_B1T = wave_BT.unsqueeze(1)
        return _standardise(wave_B1T) if self.config.normalise == "clip" else wave_B1T

    def fit(self, waves: Iterable[Tensor]) -> None:
        """Nothing to learn from the training clips."""

    def shape(self, samples: int) -> tuple[int, int]:
        """Shape of the feature of one wave of so many samples: [1, T]."""
        return (1, samples)


Feature = LogMel | Waveform


@dataclass(frozen=True)
class FeatureKind:
    """A row of the table: `gives` is what a net can take, "spectrogram" or "waveform"."""

    config: type[FeatureConfig]
    build: Callable[..., Feature]  # (config, sample_rate in Hz)
    gives: str


FEATURES = {
    "logmel": FeatureKind(LogMelConfig, LogMel, gives=LogMel.gives),
    "waveform": FeatureKind(WaveformConfig, Waveform, gives=Waveform.gives),
}


def build(config: FeatureConfig, sample_rate: int) -> Feature:
    """The module of a feature config at a sample rate in Hz."""
    for kind in FEATURES.values():
        if isinstance(config, kind.config):
            return kind.build(config, sample_rate)
    raise ValueError(f"{config!r} is no feature config, known features: {sorted(FEATURES)}")


def _standardise(x: Tensor) -> Tensor:
    """Zero mean and unit deviation for each example [B, *, *]; a constant example becomes zeros."""
    x = x - x.mean(dim=(1, 2), keepdim=True)
    return x / x.square().mean(dim=(1, 2), keepdim=True).sqrt().clamp_(min=EPS)


def _mel(hertz: float) -> float:
    """Slaney's scale: linear to 1 kHz (15 mel), then 27 mel for a factor of 6.4 (Auditory Toolbox, 1998)."""
    return hertz * 3 / 200 if hertz < 1000 else 15 + 27 * math.log(hertz / 1000) / math.log(6.4)


def _hertz(mel: float) -> float:
    return mel * 200 / 3 if mel < 15 else 1000 * math.exp((mel - 15) * math.log(6.4) / 27)
