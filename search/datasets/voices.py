"""The voices of the synthetic set: ten classes of sound, each a function of a source and a stage.

The families are confusable: each class shares its timbre with one neighbour and its rhythm with another, so
that neither a spectrum nor an onset count alone tells them apart.

    bark, crow, cry       voiced, overlapping pitches; short bursts, long arcs, swells with vibrato
    clock, knock, crackle struck; high and regular, low and regular, high and irregular
    rain, waves           noise; dense drops, slow swells
    engine, rotor         continuous; a humming buzz, chopped noise, overlapping rates

Shape letters: T samples, F frequency bins.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Wave = NDArray[np.float64]


@dataclass(frozen=True)
class Source:
    """What all takes of one imagined recording share."""

    pitch: float  # 0..1 within the range of the class
    tempo: float  # 0..1 within the range of the class
    tone: float  # 0..1, dark to bright
    tilt: float  # dB an octave, colour of the room and the microphone
    peaks: tuple[tuple[float, float, float], ...]  # resonances of the room: Hz, dB, octaves
    echo: float  # seconds of reverberation
    snr: float  # dB above the background
    noise_tilt: float  # dB an octave, colour of the background
    level: float  # dB

    @classmethod
    def draw(cls, rng: Generator) -> "Source":
        """Another recording."""
        peaks = tuple(
            (float(np.exp(rng.uniform(np.log(150), np.log(7000)))), rng.uniform(-5, 5), rng.uniform(0.3, 1.5))
            for _ in range(3)
        )
        return cls(
            pitch=rng.uniform(),
            tempo=rng.uniform(),
            tone=rng.uniform(),
            tilt=rng.uniform(-2, 1),
            peaks=peaks,
            echo=rng.uniform(0.02, 0.25),
            snr=rng.triangular(3, 20, 30),
            noise_tilt=rng.uniform(-4.5, -2),
            level=rng.uniform(-9, 9),
        )


@dataclass(frozen=True)
class Stage:
    """The canvas of one take: its chance, its length and its small deviations from the source."""

    rng: Generator
    T: int
    rate: int

    def near(self, low: float, high: float, share: float, spread: float = 0.06) -> float:
        """A value of [low, high] at about `share` of the way, geometrically."""
        share = min(max(share + self.rng.normal(0, spread), 0.0), 1.0)
        return float(low * (high / low) ** share)

    def begin(self, latest: float) -> float:
        """The time of the first event, seconds."""
        return float(self.rng.uniform(0, min(latest, 0.25 * self.T / self.rate)))

    def onsets(self, period: float, jitter: float) -> list[float]:
        """Times in seconds of events every `period` seconds, each displaced by up to `jitter` of it."""
        times = np.arange(self.begin(period), self.T / self.rate, period)
        return [float(time + self.rng.uniform(-jitter, jitter) * period) for time in times]

    def random_onsets(self, per_second: float) -> list[float]:
        """Times of events that know nothing of each other."""
        length = self.T / self.rate
        return [float(time) for time in self.rng.uniform(0, length, self.rng.poisson(per_second * length))]

    def place(self, wave_T: Wave, sound: Wave, at: float) -> None:
        """Add `sound` to the canvas at `at` seconds; what does not fit is cut off."""
        start = max(int(at * self.rate), 0)
        part = sound[: max(self.T - start, 0)]
        wave_T[start : start + len(part)] += part

    def time(self, seconds: float) -> Wave:
        """The time axis of a sound of that length, in seconds."""
        return np.arange(max(int(seconds * self.rate), 8)) / self.rate

    def noise(self, count: int, tilt: float = 0.0) -> Wave:
        """Gaussian noise of unit power whose spectrum falls or rises by `tilt` dB an octave."""
        return _unit(colour(self.rng.standard_normal(count), self.rate, tilt))


def _voice(stage: Stage, source: Source, pitch_T: Wave, breath: float) -> Wave:
    """A throat: harmonics of a moving pitch (Hz) through two formants, with some breath in it."""
    phase_T = 2 * np.pi * np.cumsum(pitch_T) / stage.rate
    centre = float(pitch_T.mean())
    first, second = 500 + 600 * source.tone, 1400 + 1800 * source.tone
    sound = np.zeros_like(phase_T)
    for harmonic in range(1, 1 + int(min(18, 0.45 * stage.rate / pitch_T.max()))):
        hz = harmonic * centre
        gain = 1 / (1 + ((hz - first) / 300) ** 2) + 0.6 / (1 + ((hz - second) / 500) ** 2) + 0.08
        sound += gain / math.sqrt(harmonic) * np.sin(harmonic * phase_T + stage.rng.uniform(0, 6.28))
    return _unit(sound) + breath * stage.noise(len(sound), -2)


def _bark(stage: Stage, source: Source) -> Wave:
    wave_T, at = np.zeros(stage.T), stage.begin(0.4)
    pause = stage.near(0.25, 0.9, source.tempo)
    while at < stage.T / stage.rate:
        for _ in range(stage.rng.integers(1, 4)):
            t = stage.time(stage.rng.uniform(0.1, 0.24))
            pitch_T = stage.near(180, 380, source.pitch) * (1 + 0.35 * np.exp(-t / 0.04) - 0.25 * t / t[-1])
            envelope_T = np.minimum(t / 0.008, 1) * np.exp(-t / (0.3 * t[-1]))
            stage.place(wave_T, _voice(stage, source, pitch_T, 0.7) * envelope_T, at)
            at += len(t) / stage.rate + stage.rng.uniform(0.03, 0.15)
        at += pause * stage.rng.uniform(0.6, 1.6)
    return wave_T


def _crow(stage: Stage, source: Source) -> Wave:
    wave_T, at = np.zeros(stage.T), stage.begin(0.6)
    while at < 0.8 * stage.T / stage.rate:
        syllables = [0.12, 0.16, stage.near(0.45, 0.9, source.tempo)][stage.rng.integers(0, 3) :]
        for length in syllables:
            t = stage.time(length)
            arc_T = 1 + 0.3 * np.sin(np.pi * t / t[-1]) - 0.15 * t / t[-1]
            envelope_T = np.sin(np.pi * t / (t[-1] + 0.001)) ** 0.5
            stage.place(
                wave_T,
                _voice(stage, source, stage.near(480, 950, source.pitch) * arc_T, 0.35) * envelope_T,
                at,
            )
            at += length + 0.05
        at += stage.rng.uniform(0.4, 1.2)
    return wave_T


def _cry(stage: Stage, source: Source) -> Wave:
    wave_T = np.zeros(stage.T)
    period = stage.near(0.6, 1.3, source.tempo)
    for at in stage.onsets(period, 0.08):
        t = stage.time(period * stage.rng.uniform(0.55, 0.8))
        wobble_T = 1 + 0.04 * np.sin(2 * np.pi * stage.rng.uniform(5, 9) * t)
        pitch_T = stage.near(300, 520, source.pitch) * wobble_T * (1 + 0.15 * np.sin(np.pi * t / t[-1]))
        envelope_T = np.sin(np.pi * t / (t[-1] + 0.001)) ** 1.5
        stage.place(wave_T, _voice(stage, source, pitch_T, 0.12) * envelope_T, at)
    return wave_T


def _strike(stage: Stage, hz: float, ring: float, hardness: float) -> Wave:
    """Something hit: a few damped modes above `hz`, `ring` seconds long, and the click of the blow."""
    t = stage.time(6 * ring)
    sound = hardness * stage.noise(len(t)) * np.exp(-t / 0.003)
    for ratio in (1.0, 1.47, 2.09, 2.56):
        hz_mode = min(hz * ratio * stage.rng.uniform(0.97, 1.03), 0.45 * stage.rate)
        sound += (
            np.exp(-t * ratio / ring) * np.sin(2 * np.pi * hz_mode * t + stage.rng.uniform(0, 6.28)) / ratio
        )
    return sound


def _clock(stage: Stage, source: Source) -> Wave:
    wave_T = np.zeros(stage.T)
    high = stage.near(1500, 4200, source.pitch)
    for count, at in enumerate(stage.onsets(1 / stage.near(1.6, 5.5, source.tempo), 0.02)):
        hz, gain = (high, 1.0) if count % 2 else (high * 0.82, 0.75)
        stage.place(wave_T, gain * _strike(stage, hz, 0.01 + 0.015 * source.tone, 0.8), at)
    return wave_T


def _knock(stage: Stage, source: Source) -> Wave:
    wave_T = np.zeros(stage.T)
    low = stage.near(130, 700, source.pitch)
    for at in stage.onsets(1 / stage.near(1.4, 5.0, source.tempo), 0.1):
        gain = stage.rng.uniform(0.6, 1.0)
        stage.place(wave_T, gain * _strike(stage, low, 0.012 + 0.02 * source.tone, 0.9), at)
    return wave_T


def _crackle(stage: Stage, source: Source) -> Wave:
    wave_T = 0.05 * stage.noise(stage.T, -4)
    for at in stage.random_onsets(stage.near(4, 22, source.tempo)):
        gain = min(0.3 * stage.rng.pareto(1.8) + 0.15, 2.0)
        hz = stage.near(700, 3600, source.pitch, 0.3)
        stage.place(wave_T, gain * _strike(stage, hz, 0.004 + 0.01 * source.tone, 1.2), at)
    return wave_T


def _rain(stage: Stage, source: Source) -> Wave:
    wave_T = 0.5 * stage.noise(stage.T, -1 + 3 * source.tone)
    for at in stage.random_onsets(stage.near(30, 120, source.tempo)):
        hz = stage.near(800, 4500, source.pitch, 0.3)
        stage.place(wave_T, stage.rng.uniform(0.1, 1.2) * _strike(stage, hz, 0.003, 1.0), at)
    return wave_T


def _waves(stage: Stage, source: Source) -> Wave:
    t = np.arange(stage.T) / stage.rate
    swell_T = 0.5 + 0.5 * np.sin(2 * np.pi * (stage.near(0.25, 0.7, source.tempo) * t + stage.rng.uniform()))
    roar_T = stage.noise(stage.T, -4 + 1.5 * source.tone)
    foam_T = stage.noise(stage.T, -1 + 2 * source.tone)
    return roar_T * (0.25 + swell_T) + 0.8 * foam_T * swell_T ** (2 + 2 * source.pitch)


def _engine(stage: Stage, source: Source) -> Wave:
    t = np.arange(stage.T) / stage.rate
    drift_T = 1 + 0.06 * np.sin(2 * np.pi * stage.rng.uniform(0.1, 0.5) * t + stage.rng.uniform(0, 6.28))
    hz = stage.near(30, 90, source.pitch)
    phase_T = np.cumsum(hz * drift_T) / stage.rate
    firing_T = np.exp(-np.mod(phase_T, 1) * stage.near(4, 14, source.tempo))
    buzz_T = firing_T - firing_T.mean()
    return _unit(buzz_T) + (0.2 + 0.4 * source.tone) * stage.noise(stage.T, -3) * (0.3 + firing_T)


def _rotor(stage: Stage, source: Source) -> Wave:
    t = np.arange(stage.T) / stage.rate
    drift_T = 1 + 0.03 * np.sin(2 * np.pi * stage.rng.uniform(0.1, 0.5) * t + stage.rng.uniform(0, 6.28))
    phase_T = np.cumsum(stage.near(9, 30, source.tempo) * drift_T) / stage.rate
    chop_T = (0.5 + 0.5 * np.cos(2 * np.pi * phase_T)) ** (2 + 4 * source.pitch)
    return stage.noise(stage.T, -9 + 3 * source.tone) * (0.08 + chop_T)


CLASSES: dict[str, Callable[[Stage, Source], Wave]] = {
    "bark": _bark,
    "crow": _crow,
    "cry": _cry,
    "clock": _clock,
    "knock": _knock,
    "crackle": _crackle,
    "rain": _rain,
    "waves": _waves,
    "engine": _engine,
    "rotor": _rotor,
}


def colour(wave_T: Wave, rate: int, tilt: float, peaks: tuple[tuple[float, float, float], ...] = ()) -> Wave:
    """Colour a sound: `tilt` dB an octave around 1 kHz, and resonances (Hz, dB, width in octaves)."""
    size = fast_length(len(wave_T))
    octave_F = np.log2(np.maximum(np.fft.rfftfreq(size, 1 / rate), 80.0) / 1000)
    gain_F = tilt * octave_F
    for hz, gain, width in peaks:
        gain_F = gain_F + gain * np.exp(-0.5 * ((octave_F - math.log2(hz / 1000)) / width) ** 2)
    return np.fft.irfft(np.fft.rfft(wave_T, size) * 10 ** (gain_F / 20), size)[: len(wave_T)]


def _unit(wave_T: Wave) -> Wave:
    return wave_T / max(math.sqrt(float((wave_T**2).mean())), 1e-9)


def fast_length(count: int) -> int:
    """The next length whose transform is fast: a power of two, or three quarters of one."""
    power = 1 << max(count - 1, 1).bit_length()
    return power * 3 // 4 if power * 3 // 4 >= count else power
