"""What the classes of a data set look like: waveform above log-mel, one PNG a class.

Shape letters: T samples, N frames, F frequency bins, M mel bands.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..errors import Failure
from .audio import AudioError, Wave, decode
from .clip import Clip, Dataset, slug

CANDIDATES = 9  # clips of a class that are listened to for the typical one
BANDS = 96
RANGE = 80.0  # dB below the loudest point that are shown
INK, WAVE = "#1f2933", "#2b6f8f"
TICKS = (50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000)  # Hz


def class_sheet(
    dataset: Dataset, out_dir: Path, progress: Callable[[int, int], None] = lambda done, total: None
) -> list[Path]:
    """Draw one typical clip of each class into `out_dir`; returns the paths in the order of the classes.

    Raises `Failure` where no clip of a class can be decoded, or the folder cannot be written.
    """
    paths = []
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        for number, label in enumerate(dataset.classes):
            clips = [clip for clip in dataset.clips if clip.label == label]
            clip, wave_T, rate = typical(clips)
            path = out_dir / f"{number:02d}_{slug(label)}.png"
            draw(dataset, clip, wave_T, rate).savefig(path, dpi=130)
            paths.append(path)
            progress(number + 1, len(dataset.classes))
    except OSError as error:
        raise Failure(f"pictures cannot be written to {out_dir}: {error.strerror or error}") from error
    return paths


def draw(dataset: Dataset, clip: Clip, wave_T: Wave, rate: int) -> Figure:
    """The picture of one clip."""
    seconds = len(wave_T) / rate
    figure = Figure(figsize=(9, 5.4), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(1, 2.2))
    figure.suptitle(clip.label.replace("_", " "), x=0.012, ha="left", size=16, weight="bold", color=INK)
    fold = f"fold {clip.fold}, " if clip.fold else ""
    origin = "synthetic sound" if dataset.synthetic else dataset.name
    upper.set_title(
        f"{origin}, clip {clip.name}, {fold}{rate / 1000:g} kHz, {seconds:.2f} s",
        loc="left",
        size=9,
        color="#52606d",
    )
    _waveform(upper, wave_T, rate)
    mesh = _spectrogram(lower, wave_T, rate)
    bar = figure.colorbar(mesh, ax=[upper, lower], pad=0.012, aspect=34)
    bar.set_label("level below the loudest point (dB)", color=INK)
    bar.outline.set_visible(False)
    for axes in (upper, lower, bar.ax):
        axes.tick_params(colors=INK, labelsize=9)
    lower.set_xlim(0, seconds)
    lower.set_xlabel("time (s)", color=INK)
    return figure


def log_mel(wave_T: Wave, rate: int, bands: int = BANDS) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Log-mel picture in dB of its loudest point, `[M, N]`, frame edges in s `[N+1]`, band edges in mel `[M+1]`.

    Frames of about 46 ms, four times overlapped; Hann window.
    """
    n_fft = 1 << round(math.log2(0.046 * rate)) if rate > 700 else 32
    hop = n_fft // 4
    padded_T = np.pad(wave_T, n_fft // 2)
    frames_NT = np.lib.stride_tricks.sliding_window_view(padded_T, n_fft)[::hop]
    power_NF = np.abs(np.fft.rfft(frames_NT * np.hanning(n_fft), axis=1)) ** 2
    low, high = hz_to_mel(30.0), hz_to_mel(rate / 2)
    edges_mel = np.linspace(low, high, bands + 2)
    power_MN = mel_bank(mel_to_hz(edges_mel), rate, n_fft) @ power_NF.T
    db_MN = 10 * np.log10(np.maximum(power_MN, 1e-12))
    frame_edges = (np.arange(len(frames_NT) + 1) - 0.5) * hop / rate
    return db_MN - db_MN.max(), frame_edges, (edges_mel[:-1] + edges_mel[1:]) / 2


def mel_bank(edges_hz: NDArray[Any], rate: int, n_fft: int) -> NDArray[Any]:
    """Triangles over neighbouring edges, unit area (Slaney 1998), as `[M, F]`.

    A band too narrow to hold a bin of the transform takes the nearest one, so that no row stays dark.
    """
    bins_F = np.fft.rfftfreq(n_fft, 1 / rate)
    below, centre, above = (edges_hz[i : len(edges_hz) - 2 + i, None] for i in range(3))
    rising_MF, falling_MF = (bins_F - below) / (centre - below), (above - bins_F) / (above - centre)
    bank_MF = np.maximum(0, np.minimum(rising_MF, falling_MF)) * 2 / (above - below)
    for row in np.flatnonzero(bank_MF.max(axis=1) == 0):
        bank_MF[row, np.abs(bins_F - centre[row]).argmin()] = 1 / (above - below)[row, 0]
    return bank_MF


def hz_to_mel(hz: Any) -> Any:
    """Slaney's mel scale: linear below 1 kHz, logarithmic above.

    >>> float(hz_to_mel(1000.0)), round(float(hz_to_mel(6400.0)), 3)
    (15.0, 42.0)
    """
    hz = np.asarray(hz, dtype=float)
    return np.where(hz < 1000, hz * 3 / 200, 15 + 27 * np.log(np.maximum(hz, 1000) / 1000) / math.log(6.4))


def mel_to_hz(mel: Any) -> Any:
    """The inverse of `hz_to_mel`."""
    mel = np.asarray(mel, dtype=float)
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((np.maximum(mel, 15) - 15) * math.log(6.4) / 27))


def typical(clips: list[Clip]) -> tuple[Clip, Wave, int]:
    """The clip of median loudness among a few spread over the class."""
    heard = []
    spread = np.linspace(0, len(clips) - 1, min(CANDIDATES, len(clips))).round().astype(int)
    for row in spread:
        try:
            wave_T, rate = decode(clips[row].path)
        except AudioError as error:
            reason = str(error)
            continue
        heard.append((float(np.sqrt(np.mean(wave_T**2))), int(row), wave_T, rate))
    if not heard:
        raise Failure(
            f"class {clips[0].label}: none of {len(spread)} clips tried can be decoded, last: {reason}"
        )
    heard.sort(key=lambda entry: entry[:2])
    _, row, wave_T, rate = heard[len(heard) // 2]
    return clips[row], wave_T, rate


def _waveform(axes: Any, wave_T: Wave, rate: int) -> None:
    """The envelope of the wave: least and greatest sample of each column of the picture."""
    step = max(1, len(wave_T) // 1600)
    columns = np.pad(wave_T, (0, -len(wave_T) % step), mode="edge").reshape(-1, step)
    time = (np.arange(len(columns)) + 0.5) * step / rate
    axes.axhline(0, color="#cbd2d9", linewidth=0.8)
    axes.fill_between(
        time, columns.min(axis=1), columns.max(axis=1), color=WAVE, edgecolor=WAVE, linewidth=0.6
    )
    reach = max(1.08 * float(np.abs(wave_T).max()), 1e-4)
    axes.set_ylim(-reach, reach)
    axes.set_ylabel("amplitude\n(full scale 1)", color=INK)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.tick_params(axis="x", length=0)


def _spectrogram(axes: Any, wave_T: Wave, rate: int) -> Any:
    db_MN, time_edges, mel_edges = log_mel(wave_T, rate)
    mesh = axes.pcolormesh(
        time_edges, mel_edges, db_MN, cmap="magma", vmin=-RANGE, vmax=0, shading="flat", rasterized=True
    )
    shown = [hz for hz in TICKS if mel_edges[0] <= hz_to_mel(hz) <= mel_edges[-1] and (hz >= 200 or hz == 50)]
    axes.set_yticks(
        [float(hz_to_mel(hz)) for hz in shown], [f"{hz / 1000:g}k" if hz >= 1000 else str(hz) for hz in shown]
    )
    axes.set_ylabel("frequency (Hz, mel scale)", color=INK)
    axes.spines[:].set_visible(False)
    return mesh
