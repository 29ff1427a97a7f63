"""A seeded generator of environmental sounds, for demonstrations and tests.

Ten classes in confusable families: each shares its timbre with one neighbour and its rhythm with another, so
that neither a spectrum nor an onset count alone tells them apart.

    bark, crow, cry       voiced, one pitch range; short bursts, long arcs, swells with vibrato
    clock, knock, crackle struck; high and regular, low and regular, high and irregular
    rain, waves           noise; dense drops, slow swells
    engine, rotor         continuous; a humming buzz, chopped noise, overlapping rates

A source is one imagined recording: pitch, tempo, room colour, background, distance to the microphone. Its takes
vary around it, and a source never stands in two folds. Takes differ by level (+-12 dB), background noise (from
about 0 dB signal to noise upwards) and silence padding. Shape letters: T samples, F frequency bins.
"""

import csv
import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.random import Generator
from numpy.typing import NDArray

from ..errors import Failure, UsageError
from .audio import to_int16
from .esc50 import COLUMNS, MARKER, TABLE

VERSION = 1  # of the sounds: the same seed and version give the same files
SAMPLE_RATE = 16000  # Hz
SECONDS = 2.5
FOLDS = 5
TAKES = (3, 2, 2, 1)  # clips of each source of a class and fold: 4 sources, 8 clips
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

    def onsets(self, period: float, jitter: float) -> list[float]:
        """Times in seconds of events every `period` seconds, each displaced by up to `jitter` of it."""
        length = self.T / self.rate
        times = np.arange(self.rng.uniform(0, min(period, length / 3)), length, period)
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
        return _unit(_shape(self.rng.standard_normal(count), self.rate, tilt))


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
    wave_T, at = np.zeros(stage.T), stage.rng.uniform(0, 0.4)
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
    wave_T, at = np.zeros(stage.T), stage.rng.uniform(0, 0.6)
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


def make_clip(label: str, source: Source, rng: Generator, *, sample_rate: int, seconds: float) -> Wave:
    """One take of a source as float `[T]`, peak below 1."""
    T = round(sample_rate * seconds)
    stage = Stage(rng, T, sample_rate)
    wave_T = CLASSES[label](stage, source)
    wave_T = _shape(wave_T, sample_rate, source.tilt, source.peaks)
    wave_T = _reverberate(wave_T, sample_rate, source.echo * rng.uniform(0.8, 1.2), rng)
    loud_T = np.abs(wave_T) > 0.05 * np.abs(wave_T).max()
    wave_T = wave_T / math.sqrt(float((wave_T[loud_T] ** 2).mean()))
    snr = max(source.snr + rng.uniform(-3, 3), 0.0)
    wave_T += 10 ** (-snr / 20) * stage.noise(T, source.noise_tilt + rng.uniform(-0.5, 0.5))
    level = min(max(source.level + rng.uniform(-3, 3), -12.0), 12.0)
    wave_T *= 10 ** ((level - 27) / 20)
    if rng.uniform() < 0.2:  # a short recording, padded with digital silence as in ESC-50
        kept = round(T * rng.uniform(0.4, 0.85))
        wave_T[kept:] = 0.0
        fade = min(kept, sample_rate // 100)
        wave_T[kept - fade : kept] *= np.linspace(1, 0, fade)
    return wave_T * min(1.0, 0.99 / float(np.abs(wave_T).max()))


def write_esc50_folder(
    directory: str | Path,
    seed: int = 0,
    *,
    sample_rate: int = SAMPLE_RATE,
    seconds: float = SECONDS,
    force: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Write a synthetic set as a folder of the shape of ESC-50: 10 classes x 5 folds x 8 clips, 16-bit WAV.

    The same arguments give the same bytes. The folder appears at once or not at all; `force` replaces a
    synthetic set that stands there, never anything else.

    Raises:
        UsageError: the folder is not empty, and not a synthetic set that may be replaced.
        Failure: it cannot be written.
    """
    directory = Path(directory).expanduser()
    if directory.is_file() or (directory.is_dir() and any(directory.iterdir())):
        if not (directory / MARKER).is_file():
            raise UsageError(f"{directory} is not empty and no synthetic set; name a new folder")
        if not force:
            raise UsageError(f"{directory} holds a synthetic set already; replace it with --force")
    try:
        directory.absolute().parent.mkdir(parents=True, exist_ok=True)
        writing = Path(tempfile.mkdtemp(prefix=".synthetic-", dir=directory.absolute().parent))
    except OSError as error:
        raise Failure(f"{directory} cannot be written: {error.strerror}") from error
    try:
        new = writing / "new"
        _write(new, seed, sample_rate, seconds, progress)
        if directory.exists():
            directory.rename(writing / "old")
        new.rename(directory)
    except OSError as error:
        raise Failure(f"{directory} cannot be written: {error.strerror}") from error
    finally:
        shutil.rmtree(writing, ignore_errors=True)
    return directory


def _write(
    root: Path, seed: int, sample_rate: int, seconds: float, progress: Callable[[int, int], None]
) -> None:
    (root / "meta").mkdir(parents=True)
    (root / "audio").mkdir()
    sources = [
        (fold, target, label, number)
        for fold in range(1, FOLDS + 1)
        for target, label in enumerate(CLASSES)
        for number in range(len(TAKES))
    ]

    def one(job: tuple[int, int, str, int]) -> list[tuple[object, ...]]:
        fold, target, label, number = job
        rng = np.random.default_rng([seed, VERSION, fold, target, number])
        source = Source.draw(rng)
        src_file = 100_000 + 1000 * fold + 10 * target + number
        rows: list[tuple[object, ...]] = []
        for take in "ABCDEFGH"[: TAKES[number]]:
            wave_T = make_clip(label, source, rng, sample_rate=sample_rate, seconds=seconds)
            name = f"{fold}-{src_file}-{take}-{target}.wav"
            pcm_T = to_int16(wave_T.astype(np.float32))
            soundfile.write(root / "audio" / name, pcm_T, sample_rate, subtype="PCM_16")
            rows.append((name, fold, target, label, False, src_file, take))
        return rows

    with ThreadPoolExecutor(os.cpu_count()) as pool, (root / TABLE).open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        for done, rows in enumerate(pool.map(one, sources), start=1):
            table.writerows(rows)
            progress(done, len(sources))
    facts = {
        "generator": "escsearch",
        "version": VERSION,
        "seed": seed,
        "rate": sample_rate,
        "seconds": seconds,
    }
    (root / MARKER).write_text(json.dumps(facts, indent=2) + "\n")


def _shape(wave_T: Wave, rate: int, tilt: float, peaks: tuple[tuple[float, float, float], ...] = ()) -> Wave:
    """Colour a sound: `tilt` dB an octave around 1 kHz, and resonances (Hz, dB, width in octaves)."""
    size = _fast_length(len(wave_T))
    octave_F = np.log2(np.maximum(np.fft.rfftfreq(size, 1 / rate), 80.0) / 1000)
    gain_F = tilt * octave_F
    for hz, gain, width in peaks:
        gain_F = gain_F + gain * np.exp(-0.5 * ((octave_F - math.log2(hz / 1000)) / width) ** 2)
    return np.fft.irfft(np.fft.rfft(wave_T, size) * 10 ** (gain_F / 20), size)[: len(wave_T)]


def _reverberate(wave_T: Wave, rate: int, seconds: float, rng: Generator) -> Wave:
    """A room whose echo dies away in about `seconds`."""
    tail_T = rng.standard_normal(max(int(seconds * rate), 1))
    tail_T *= np.exp(-5 * np.arange(len(tail_T)) / len(tail_T))
    tail_T *= 0.5 / math.sqrt(float((tail_T**2).sum()))
    tail_T[0] += 1.0
    size = _fast_length(len(wave_T) + len(tail_T))
    return np.fft.irfft(np.fft.rfft(wave_T, size) * np.fft.rfft(tail_T, size), size)[: len(wave_T)]


def _unit(wave_T: Wave) -> Wave:
    return wave_T / max(math.sqrt(float((wave_T**2).mean())), 1e-9)


def _fast_length(count: int) -> int:
    """The next length whose transform is fast: a power of two, or three quarters of one."""
    power = 1 << max(count - 1, 1).bit_length()
    return power * 3 // 4 if power * 3 // 4 >= count else power
