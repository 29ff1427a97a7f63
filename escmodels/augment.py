"""Augmentation of training batches: every example draws its own parameters, chance comes in as a generator.

What is done where: a net on waves gets everything on the wave. For a net on spectrograms a sound is changed where this
is cheapest, on band power or by the bank that pools the bins, unless `exact` asks for the wave itself.

Shape letters: B batch, T samples, R resolutions, N frames, M bands, K classes.

The functions live in `wave_augment`, `band_augment`, `spec_augment` and `mixing`. Each takes tensors and a generator,
returns new tensors of the same shapes and leaves its inputs alone; with its strength at zero it returns the inputs
themselves and draws nothing. The generator may live on another device than the data (a CPU generator keeps a run
reproducible anywhere).
"""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from . import band_augment, mixing, spec_augment, wave_augment
from .banks import Warp
from .checks import one_of, within
from .draws import factors, product, uniform
from .spectrograms import COLOURS, Spectrogram

LOW_JITTER = 200.0  # the lower edge of the bank moves so many times less than the upper one (EfficientAT: 10 Hz, 2 kHz)


@dataclass(frozen=True)
class AugmentConfig:
    """What is done to training clips. All off by default."""

    gain_db: float = 0.0  # uniform in +- this many dB
    polarity: float = 0.0  # share of the clips turned upside down; waves only
    roll: float = 0.0  # rotation in time, uniform in +- this share of the clip / 2 (1 = anywhere)
    noise_p: float = 0.0  # share of the examples that get noise
    noise_snr_db: float = 20.0  # loudest noise; per example uniform in [this, this + 20] dB
    noise_colour: str = "white"  # white, pink, brown, or any: each example draws one
    stretch: float = 0.0  # tempo at the same pitch, by (1 + this)^U(-1, 1)
    pitch: float = 0.0  # pitch at the same tempo, uniform in +- this many semitones
    speed: float = 0.0  # tempo and pitch together, by (1 + this)^U(-1, 1)
    exact: bool = (
        False  # stretch, pitch, speed, noise and between_class on the wave instead of on the spectrogram
    )
    freq_jitter: float = (
        0.0  # Hz; the upper edge of the bank falls by up to this, the lower one rises by 1/200 of it
    )
    freq_mask: float = 0.0  # most of the bands that all masks together hide (share)
    time_mask: float = 0.0  # most of the frames that all masks together hide (share)
    masks: int = 2  # number of masks along each axis
    mixup: float = 0.0  # alpha of the Beta distribution of mixup; 0 = off
    between_class: float = 0.0  # share of the examples mixed with one of another class, by their loudness

    def __post_init__(self) -> None:
        within("augment.gain_db", self.gain_db, 0.0, 40.0)
        within("augment.polarity", self.polarity, 0.0, 1.0)
        within("augment.roll", self.roll, 0.0, 1.0)
        within("augment.noise_p", self.noise_p, 0.0, 1.0)
        within("augment.noise_snr_db", self.noise_snr_db, -20.0, 80.0)
        one_of("augment.noise_colour", self.noise_colour, (*COLOURS, "any"))
        within("augment.stretch", self.stretch, 0.0, 1.0)
        within("augment.pitch", self.pitch, 0.0, 12.0)
        within("augment.speed", self.speed, 0.0, 1.0)
        one_of("augment.exact", self.exact, (False, True))
        within("augment.freq_jitter", self.freq_jitter, 0.0, 4000.0)
        within("augment.freq_mask", self.freq_mask, 0.0, 0.9)
        within("augment.time_mask", self.time_mask, 0.0, 0.9)
        within("augment.masks", self.masks, 1, 8)
        within("augment.mixup", self.mixup, 0.0, 10.0)
        within("augment.between_class", self.between_class, 0.0, 1.0)
        if self.mixup and self.between_class:
            raise ValueError(
                f"augment.mixup is {self.mixup} and augment.between_class is {self.between_class}, "
                "expected one of them to be 0: both mix examples"
            )

    def check(self, gives: str) -> None:
        """Refuse what makes no sense for a feature that gives a "spectrogram" or a "waveform".

        Raises:
            ValueError: polarity for a spectrogram; bands or the fast forms of pitch and stretch for a waveform.
        """
        if gives == "spectrogram":
            refused = {"polarity": "a spectrogram does not see the sign of a wave: set it to 0"}
        else:
            refused = dict.fromkeys(("freq_jitter", "freq_mask"), "a waveform has no bands: set it to 0")
            if not self.exact:
                how = "a waveform needs augment.exact = True for it: set that, or this to 0"
                refused |= dict.fromkeys(("stretch", "pitch"), how)
        for knob, reason in refused.items():
            if getattr(self, knob):
                raise ValueError(f"augment.{knob} is {getattr(self, knob)}, but {reason}")


class Augment:
    """The augmentations of a recipe in their order: on the wave, on the bands, on the feature, between examples.

    Raises:
        ValueError: the config makes no sense for what the feature gives.
    """

    def __init__(self, config: AugmentConfig, gives: str) -> None:
        config.check(gives)
        self.config, self.gives = config, gives

    @property
    def needs(self) -> str:
        """The latest stage that may be kept between epochs: "feature", "bands", "spectrum" or "wave".

        Nothing upstream of it is touched.
        """
        c, spectrogram = self.config, self.gives == "spectrogram"
        heard = max(c.noise_p, c.stretch, c.pitch, c.speed, c.between_class)  # moved to the wave by `exact`
        if not spectrogram:
            return "wave" if max(heard, c.gain_db, c.polarity) > 0 else "feature"
        if c.exact and heard > 0:
            return "wave"
        if self.warps:
            return "spectrum"
        return "bands" if max(heard, c.gain_db) > 0 else "feature"

    @property
    def on_bands(self) -> bool:
        """Whether anything happens between the wave and the feature."""
        c = self.config
        fast = 0.0 if c.exact else max(c.noise_p, c.stretch, c.between_class)
        return self.warps or (self.gives == "spectrogram" and max(fast, c.gain_db) > 0)

    @property
    def warps(self) -> bool:
        """Whether every example gets a bank of its own."""
        c = self.config
        moved = 0.0 if c.exact else max(c.pitch, c.speed)
        return self.gives == "spectrogram" and max(moved, c.freq_jitter) > 0

    @property
    def listens(self) -> bool:
        """Whether `bands` uses the loudness."""
        c = self.config
        return self.gives == "spectrogram" and not c.exact and max(c.between_class, c.noise_p) > 0

    @property
    def reach(self) -> float:
        """The largest time factor that `warp` can give."""
        c = self.config
        return 1.0 if c.exact or self.gives != "spectrogram" else (1 + c.stretch) * (1 + c.speed)

    def wave(
        self, wave_BT: Tensor, target_BK: Tensor, rng: Generator, sample_rate: int
    ) -> tuple[Tensor, Tensor]:
        """What happens to the samples; float32 in [-1, 1] comes in, louder clips may leave the range."""
        c = self.config
        if c.exact:
            wave_BT = wave_augment.exact(wave_BT, rng, c.stretch, c.pitch, c.speed, sample_rate)
        elif self.gives == "waveform":
            wave_BT = wave_augment.speed(wave_BT, rng, c.speed)
        if c.exact or self.gives == "waveform":
            wave_BT, target_BK = mixing.between_waves(wave_BT, target_BK, rng, c.between_class, sample_rate)
        if self.gives == "waveform":
            wave_BT = wave_augment.gain(wave_augment.polarity(wave_BT, rng, c.polarity), rng, c.gain_db)
        if c.exact or self.gives == "waveform":
            wave_BT = wave_augment.noise(wave_BT, rng, c.noise_p, c.noise_snr_db, c.noise_colour, sample_rate)
        return wave_BT, target_BK

    def warp(self, size: int, rng: Generator, like: Tensor) -> tuple[Warp | None, Tensor | None]:
        """The bank of each of `size` examples (None: the plain one) and their time factors [B] (None: 1).

        `like`: a tensor on the device of the data.
        """
        c, like = self.config, like.new_empty(0, dtype=torch.float32)
        if self.gives != "spectrogram":
            return None, None
        tempo_B = pitch_B = speed_B = None
        if not c.exact:
            tempo_B, speed_B = (factors(size, reach, rng, like) for reach in (c.stretch, c.speed))
            pitch_B = factors(size, 2 ** (c.pitch / 12) - 1, rng, like)
        ratio_B, factor_B = product(pitch_B, speed_B), product(tempo_B, speed_B)
        if ratio_B is None and c.freq_jitter == 0.0:
            return None, factor_B
        low_B = high_B = like.new_zeros(size)
        if c.freq_jitter > 0.0:
            low_B = uniform((size,), rng, like) * (c.freq_jitter / LOW_JITTER)
            high_B = uniform((size,), rng, like) * -c.freq_jitter
        return Warp(like.new_ones(size) if ratio_B is None else ratio_B, low_B, high_B), factor_B

    def bands(
        self, band_BRNM: Tensor, loud_BN2: Tensor, target_BK: Tensor, rng: Generator, feature: Spectrogram
    ) -> tuple[Tensor, Tensor]:
        """What happens to band power: between-class mixing, noise, gain.

        `loud_BN2`: mean square of the samples of each frame, plain and A-weighted.
        """
        c = self.config
        if not c.exact:
            band_BRNM, loud_BN2, target_BK = mixing.between_bands(
                band_BRNM, loud_BN2, target_BK, rng, c.between_class
            )
        if c.noise_p > 0.0 and not c.exact:
            colours = tuple(COLOURS) if c.noise_colour == "any" else (c.noise_colour,)
            noise_CRM = torch.stack([feature.noise(colour) for colour in colours])
            band_BRNM = band_augment.noise(
                band_BRNM, loud_BN2, rng, c.noise_p, c.noise_snr_db, noise_CRM, feature.freedom_RM
            )
        return band_augment.gain(band_BRNM, rng, c.gain_db), target_BK

    def spec(self, x: Tensor, rng: Generator) -> Tensor:
        """Roll and masks on a normalised feature [B, C, H, N] (or [B, 1, T]: no bands to mask).

        The roll comes here and not on the wave, so that features that nothing else changes are computed once.
        """
        x = spec_augment.roll(x, rng, self.config.roll)
        return spec_augment.spec_augment(
            x, rng, self.config.freq_mask, self.config.time_mask, self.config.masks
        )

    def mix(self, x: Tensor, target_BK: Tensor, rng: Generator) -> tuple[Tensor, Tensor]:
        """Mixup of features and of targets, which stay distributions over the classes."""
        return mixing.mixup(x, target_BK, rng, self.config.mixup)
