"""What can be chosen about a feature: one frozen config each; impossible combinations are refused here.

`__post_init__` refuses what can be told from the knobs alone, `check` what the sample rate forbids. Both are cheap,
so that a whole space of settings can be checked before the first trial runs.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from .banks import check_gammatone, check_mel
from .checks import one_of, within

PCEN = {"pcen_time": 0.4, "pcen_gain": 0.98, "pcen_bias": 2.0, "pcen_power": 0.5}  # librosa's defaults


@dataclass(frozen=True)
class SpectrogramConfig(ABC):
    """What every feature on short-time spectra has."""

    top: ClassVar[float] = 1.0  # highest frequency if fmax is 0, as a share of half the sample rate
    compressions: ClassVar[tuple[str, ...]] = ("db", "log")

    n_fft: int = 1024  # samples of a frame
    window: int = 0  # samples of the Hann window in the middle of a frame; 0 = n_fft
    hop: int = 512  # samples between frames
    fmin: float = 50.0  # Hz
    fmax: float = 0.0  # Hz; 0 = half the sample rate, 0.8 of that for gammatone
    compression: str = "db"  # db: 10 log10; log: ln(power + 1e-6); pcen: per-channel energy normalisation
    deltas: int = 0  # time derivatives that follow as channels: 0, 1 (slope) or 2 (slope and curvature)
    # dataset: mean and deviation of each channel and row over the training clips; clip: of the clip, per channel
    normalise: str = "dataset"

    @property
    @abstractmethod
    def bands(self) -> int:
        """Number of bands of the filter bank."""

    @property
    def rows(self) -> int:
        """Number of values of a frame in each channel, before stacking."""
        return self.bands

    def __post_init__(self) -> None:
        within("feature.n_fft", self.n_fft, 64, 16384)
        within("feature.window", self.window, 0, self.n_fft)
        within("feature.hop", self.hop, 16, 8192)
        within("feature.fmin", self.fmin, 0.0, 20000.0)
        within("feature.fmax", self.fmax, 0.0, 96000.0)
        one_of("feature.compression", self.compression, self.compressions)
        one_of("feature.deltas", self.deltas, (0, 1, 2))
        one_of("feature.normalise", self.normalise, ("dataset", "clip", "none"))
        if self.n_fft % 2:
            raise ValueError(f"feature.n_fft is {self.n_fft}, expected an even number of samples")
        if 0 < self.window < 16:
            raise ValueError(
                f"feature.window is {self.window}, expected at least 16 samples, or 0 for feature.n_fft"
            )
        if self.hop > (self.window or self.n_fft):
            longest = "feature.window" if self.window else "feature.n_fft"
            raise ValueError(
                f"feature.hop is {self.hop}, expected at most {longest} = {self.window or self.n_fft} samples"
            )
        if self.fmax and self.fmax <= self.fmin:
            raise ValueError(
                f"feature.fmax is {self.fmax} Hz, expected 0 or more than feature.fmin = {self.fmin} Hz"
            )

    def shape(self, samples: int) -> tuple[int, int, int]:
        """Shape of the feature of one wave of so many samples: [C, H, N], N = 1 + samples // hop."""
        return (1 + self.deltas, self.rows, 1 + samples // self.hop)

    def highest(self, sample_rate: int) -> float:
        """Upper edge of the bank in Hz."""
        return self.fmax or self.top * sample_rate / 2

    def check(self, sample_rate: int) -> None:
        """Refuse what this sample rate (Hz) cannot give, without building anything.

        Raises:
            ValueError: `fmax` above half the rate, no room above `fmin`, or a bank that the FFT cannot resolve.
        """
        nyquist, top = sample_rate / 2, self.highest(sample_rate)
        if top > nyquist:
            raise ValueError(f"feature.fmax is {top} Hz, expected at most half the sample rate, {nyquist} Hz")
        if top <= self.fmin:
            share = "half the sample rate" if self.top == 1.0 else f"{self.top} of half the sample rate"
            raise ValueError(f"feature.fmin is {self.fmin} Hz, expected less than {share}, {top} Hz")
        self._resolve(sample_rate)

    def _resolve(self, sample_rate: int) -> None:
        check_mel(self.bands, self.fmin, self.highest(sample_rate), self.n_fft, sample_rate)


@dataclass(frozen=True)
class PictureConfig(SpectrogramConfig):
    """What features have that keep the frequency axis: PCEN, and channels for image backbones."""

    compressions: ClassVar[tuple[str, ...]] = ("db", "log", "pcen")

    pcen_time: float = PCEN["pcen_time"]  # seconds: time constant of the level that is divided out
    pcen_gain: float = PCEN["pcen_gain"]  # alpha: 1 divides the level out wholly, 0 not at all
    pcen_bias: float = PCEN["pcen_bias"]  # delta
    pcen_power: float = PCEN["pcen_power"]  # r, exponent of the compression
    # resolutions: windows of n_fft / 4, n_fft / 2, n_fft as channels; bands: low, middle, high third as channels
    stack: str = "none"

    def __post_init__(self) -> None:
        super().__post_init__()
        within("feature.pcen_time", self.pcen_time, 0.01, 10.0)
        within("feature.pcen_gain", self.pcen_gain, 0.0, 1.0)
        within("feature.pcen_bias", self.pcen_bias, 0.01, 1000.0)
        within("feature.pcen_power", self.pcen_power, 0.01, 1.0)
        one_of("feature.stack", self.stack, ("none", "resolutions", "bands"))
        for name, default in PCEN.items():
            if self.compression != "pcen" and getattr(self, name) != default:
                raise ValueError(
                    f"feature.{name} is {getattr(self, name)} but feature.compression is {self.compression!r}; "
                    "only 'pcen' takes it"
                )
        if self.deltas and self.stack != "none":
            raise ValueError(
                f"feature.deltas is {self.deltas} with feature.stack {self.stack!r}; both make channels, choose one"
            )
        if self.stack == "bands" and self.bands % 3:
            raise ValueError(
                f"feature.stack 'bands' cuts three equal parts, the feature has {self.bands} bands; "
                "take a multiple of 3"
            )
        if self.stack == "resolutions" and self.window:
            raise ValueError(
                f"feature.window is {self.window}, but feature.stack 'resolutions' sets its own windows; take 0"
            )
        if self.stack == "resolutions" and self.hop > self.n_fft // 4:
            raise ValueError(
                f"feature.hop is {self.hop}, expected at most feature.n_fft / 4 = {self.n_fft // 4} samples, the "
                "shortest window of feature.stack 'resolutions'"
            )

    def shape(self, samples: int) -> tuple[int, int, int]:
        """Shape of the feature of one wave of so many samples: [C, H, N], N = 1 + samples // hop."""
        channels, rows, frames = super().shape(samples)
        match self.stack:
            case "resolutions":
                return (3, rows, frames)
            case "bands":
                return (3, rows // 3, frames)
        return (channels, rows, frames)


@dataclass(frozen=True)
class LogMelConfig(PictureConfig):
    """Log-mel spectrogram (Slaney's mel scale and area normalisation, power, Hann window)."""

    n_mels: int = 64

    def __post_init__(self) -> None:
        within("feature.n_mels", self.n_mels, 4, 512)
        super().__post_init__()

    @property
    def bands(self) -> int:
        """Number of bands of the filter bank."""
        return self.n_mels


@dataclass(frozen=True)
class GammatoneConfig(PictureConfig):
    """Gammatone spectrogram: bands one ERB wide, equally spaced on the ERB-rate scale, area normalisation."""

    top: ClassVar[float] = (
        0.8  # closer to half the rate the weights depart from those of true gammatone filters
    )

    n_bands: int = 64

    def __post_init__(self) -> None:
        within("feature.n_bands", self.n_bands, 4, 512)
        super().__post_init__()

    @property
    def bands(self) -> int:
        """Number of bands of the filter bank."""
        return self.n_bands

    def _resolve(self, sample_rate: int) -> None:
        check_gammatone(self.fmin, self.n_fft, sample_rate)


@dataclass(frozen=True)
class MfccConfig(SpectrogramConfig):
    """Mel-frequency cepstral coefficients: orthonormal DCT-II of the log-mel spectrum, the zeroth included."""

    stack: ClassVar[str] = "none"  # neighbouring coefficients are no neighbours in frequency

    n_mfcc: int = 20
    n_mels: int = 64

    def __post_init__(self) -> None:
        within("feature.n_mels", self.n_mels, 4, 512)
        within("feature.n_mfcc", self.n_mfcc, 2, 512)
        super().__post_init__()
        if self.n_mfcc > self.n_mels:
            raise ValueError(
                f"feature.n_mfcc is {self.n_mfcc}, expected at most feature.n_mels = {self.n_mels}"
            )

    @property
    def bands(self) -> int:
        """Number of bands of the filter bank."""
        return self.n_mels

    @property
    def rows(self) -> int:
        """Number of coefficients."""
        return self.n_mfcc


@dataclass(frozen=True)
class WaveformConfig:
    """The samples themselves."""

    normalise: str = "none"  # clip: zero mean and unit deviation for each clip

    def __post_init__(self) -> None:
        one_of("feature.normalise", self.normalise, ("none", "clip"))

    def check(self, sample_rate: int) -> None:
        """Any rate will do."""

    def shape(self, samples: int) -> tuple[int, int]:
        """Shape of the feature of one wave of so many samples: [1, T]."""
        return (1, samples)


FeatureConfig = LogMelConfig | MfccConfig | GammatoneConfig | WaveformConfig
