"""Features: what a net sees of a wave, as batched modules, and the table of them.

Shape letters: B batch, T samples, C channels, H rows, N frames.

Waves are float32 in [-1, 1], mono, at the sample rate the module was made for. The spectrograms are in
`spectrograms`, what can be chosen about them in `feature_configs`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from .feature_configs import FeatureConfig, GammatoneConfig, LogMelConfig, MfccConfig, WaveformConfig
from .spectrograms import Gammatone, LogMel, Mfcc, Spectrogram, standardise


class Waveform(nn.Module):
    """Wave [B, T] -> [B, 1, T]."""

    gives: ClassVar[str] = "waveform"

    def __init__(self, config: WaveformConfig, sample_rate: int) -> None:
        super().__init__()
        config.check(sample_rate)
        self.config, self.sample_rate = config, sample_rate

    def forward(self, wave_BT: Tensor) -> Tensor:
        wave_B1T = wave_BT.unsqueeze(1)
        return standardise(wave_B1T, (1, 2)) if self.config.normalise == "clip" else wave_B1T

    def fit(self, bands: Iterable[Tensor]) -> None:
        """Nothing to learn from the training clips."""

    def shape(self, samples: int) -> tuple[int, int]:
        """Shape of the feature of one wave of so many samples: [1, T]."""
        return self.config.shape(samples)


Feature = Spectrogram | Waveform


@dataclass(frozen=True)
class FeatureKind:
    """A row of the table: `gives` is what a net can take, "spectrogram" or "waveform"."""

    config: type[FeatureConfig]
    build: Callable[..., Feature]  # (config, sample_rate in Hz)
    gives: str


FEATURES = {  # the first that fits an architecture is its default
    "logmel": FeatureKind(LogMelConfig, LogMel, gives=LogMel.gives),
    "mfcc": FeatureKind(MfccConfig, Mfcc, gives=Mfcc.gives),
    "gammatone": FeatureKind(GammatoneConfig, Gammatone, gives=Gammatone.gives),
    "waveform": FeatureKind(WaveformConfig, Waveform, gives=Waveform.gives),
}


def build(config: FeatureConfig, sample_rate: int) -> Feature:
    """The module of a feature config at a sample rate in Hz."""
    for kind in FEATURES.values():
        if isinstance(config, kind.config):
            return kind.build(config, sample_rate)
    raise ValueError(f"{config!r} is no feature config, known features: {sorted(FEATURES)}")
