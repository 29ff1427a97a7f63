"""What this machine has to be able to do, done in small: audio in every format, and a net from training to loading.

Shape letters: T samples, N clips.
"""

import tempfile
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from escmodels.clips import ClipSet

FORMATS = {"WAV": "PCM_16", "FLAC": "PCM_16", "OGG": "VORBIS", "MP3": "MPEG_LAYER_III"}
RATE = 8000  # Hz
CLIPS = 8
SECONDS = 0.25  # of each clip
AGREE = 1e-5  # probabilities of the same net on two devices
RECIPE: dict[str, str | int | float | bool] = {
    "architecture": "mel_cnn",
    "data.sample_rate": RATE,
    "data.crop": SECONDS,
    "feature.n_mels": 16,
    "feature.n_fft": 256,
    "feature.hop": 128,
    "model.width": 4,
    "model.blocks": 2,
    "optim.batch": 4,
}


def unreadable() -> dict[str, str]:
    """What is wrong with each format in which half a second of a tone does not come back as it was written."""
    return {name: reason for name, codec in FORMATS.items() if (reason := _round_trip(name, codec))}


def learn(device: str) -> float:
    """Train a tiny net for an epoch on made sounds, pack it, unpack it; the largest difference of a probability.

    device: as torch names it. The net is loaded there and on the CPU: a model works where it was not trained. Raises
    whatever torch, the file system or the net raises, and `ArithmeticError` if what was loaded predicts otherwise.
    """
    import numpy as np

    from escmodels.classifier import Classifier
    from escmodels.fit import fit
    from escmodels.recipe import parse

    clips = _sounds()
    trained = fit(parse(RECIPE), clips, None, epochs=1, seed=0, device=device).classifier
    wanted = trained.probabilities(clips)
    with tempfile.TemporaryDirectory() as folder:
        trained.pack(Path(folder))
        loaded = [Classifier.unpack(Path(folder), place).probabilities(clips) for place in {device, "cpu"}]
    apart = max(float(np.abs(found - wanted).max()) for found in loaded)
    if not apart <= AGREE:  # also true of nan
        raise ArithmeticError(f"the loaded net predicts otherwise than the trained one, by up to {apart:.1e}")
    return apart


def _sounds() -> "ClipSet":
    """A tone and noise in turn."""
    import numpy as np

    from escmodels.clips import ClipSet

    rng, length, number_N = np.random.default_rng(0), round(RATE * SECONDS), np.arange(CLIPS)
    wave_NT = 0.2 * rng.standard_normal((CLIPS, length))
    wave_NT[::2] = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(length) / RATE)
    return ClipSet(
        samples=(wave_NT * 20000).astype(np.int16).ravel(),
        starts=number_N * length,
        lengths=np.full(CLIPS, length),
        labels=number_N % 2,
        folds=np.ones(CLIPS, dtype=np.int64),
        sources=number_N,
        names=tuple(f"made-{number}" for number in number_N),
        classes=("tone", "noise"),
        sample_rate=RATE,
    )


def _round_trip(name: str, codec: str) -> str:
    """What is wrong with a format; empty if nothing."""
    import numpy as np
    import soundfile

    from .datasets.waves.audio import AudioError, decode, resample

    rate = 44100
    tone_T = 0.5 * np.sin(2 * np.pi * 440 * np.arange(rate // 2) / rate).astype(np.float32)
    buffer = BytesIO()
    try:
        soundfile.write(buffer, tone_T, rate, format=name, subtype=codec)
        wave_T, found = decode(buffer.getvalue(), name)
        wave_T = resample(wave_T, found, 16000)
    except (AudioError, soundfile.SoundFileError, ValueError, OSError) as error:
        return " ".join(str(error).split())
    spectrum = np.abs(np.fft.rfft(wave_T))
    heard = float(spectrum.argmax()) * 16000 / len(wave_T)
    return "" if abs(heard - 440) < 5 else f"a tone of 440 Hz came back as {heard:.0f} Hz"
