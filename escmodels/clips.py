"""Labelled sounds as one long int16 array and a table of where each clip lies in it. No paths.

Shape letters: S samples of all clips, N clips, B batch, W windows, T samples of one crop.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

PADS = ("zero", "tile")
SILENCE = 8  # int16 steps: a peak below this (-72 dB of full scale) is digital silence with dither at most
SLACK = (
    50  # a clip longer than the crop by less than 1/50 counts as that long: codecs and resamplers round up
)
_CHUNK = 1 << 22  # samples looked at at once when windows are searched for silence


def quantise(wave: np.ndarray) -> np.ndarray:
    """Float samples in [-1, 1] as int16, rounded; what lies beyond full scale is clipped."""
    return np.clip(np.rint(wave * 32768.0), -32768, 32767).astype(np.int16)


def _loud(samples: np.ndarray) -> np.ndarray:
    """Which int16 samples are not silence. No `abs`: that of -32768 overflows."""
    return (samples >= SILENCE) | (samples <= -SILENCE)


@dataclass(frozen=True, eq=False)
class ClipSet:
    """Clips of a data set. A subset shares the samples and copies only the table."""

    samples: np.ndarray  # int16 [S]: all clips of all folds end to end, often a read-only memory map
    starts: np.ndarray  # int64 [N], first sample of each clip
    lengths: np.ndarray  # int64 [N], samples
    labels: np.ndarray  # int64 [N], index into classes
    folds: np.ndarray  # int64 [N], 1..K
    sources: np.ndarray  # int64 [N], number of the recording the clip was cut from
    names: tuple[str, ...]  # clip ids
    classes: tuple[str, ...]
    sample_rate: int  # Hz

    def __post_init__(self) -> None:
        if self.samples.dtype != np.int16 or self.samples.ndim != 1:
            raise ValueError(f"samples must be int16 [S], got {self.samples.dtype} {self.samples.shape}")
        for name in ("starts", "lengths", "labels", "folds", "sources", "names"):
            if len(getattr(self, name)) != len(self):
                raise ValueError(f"{len(getattr(self, name))} {name} for {len(self)} clips")
        if len(self) == 0:
            return
        if self.lengths.min() < 1:
            raise ValueError(f"clip {self.names[int(self.lengths.argmin())]!r} has no samples")
        if self.starts.min() < 0 or (self.starts + self.lengths).max() > len(self.samples):
            raise ValueError(f"a clip lies outside the {len(self.samples)} samples")
        if self.labels.min() < 0 or self.labels.max() >= len(self.classes):
            raise ValueError(f"labels {self.labels.min()}..{self.labels.max()}, {len(self.classes)} classes")

    def __len__(self) -> int:
        return len(self.starts)

    def subset(self, rows: Sequence[int] | np.ndarray) -> "ClipSet":
        """These clips, in this order."""
        index = np.asarray(rows, dtype=np.int64)
        return ClipSet(
            self.samples,
            self.starts[index],
            self.lengths[index],
            self.labels[index],
            self.folds[index],
            self.sources[index],
            tuple(self.names[row] for row in index),
            self.classes,
            self.sample_rate,
        )

    def take(self, rows: Any, begins: Any, length: int, pad: str = "zero") -> Tensor:
        """Cut `length` samples from each of `rows`, from `begins` on: int16 [B, length].

        begins: samples, relative to the clip. What lies past the end of a clip is zero, or with `pad="tile"`
        the clip again from its start.
        """
        if pad not in PADS:
            raise ValueError(f"unknown pad {pad!r}, known: {sorted(PADS)}")
        row_B = np.asarray(rows, dtype=np.int64)
        begin_B = np.broadcast_to(np.asarray(begins, dtype=np.int64), row_B.shape)
        inside_B = begin_B + length <= self.lengths[row_B]
        if inside_B.all():
            return torch.from_numpy(self._runs(row_B, begin_B, length))
        wave_BT = np.empty((len(row_B), length), dtype=np.int16)
        if inside_B.any():
            wave_BT[inside_B] = self._runs(row_B[inside_B], begin_B[inside_B], length)
        wave_BT[~inside_B] = self._padded(row_B[~inside_B], begin_B[~inside_B], length, pad)
        return torch.from_numpy(wave_BT)

    def _runs(self, row_B: np.ndarray, begin_B: np.ndarray, length: int) -> np.ndarray:
        """Cuts that lie inside their clips: whole runs are copied, without an index per sample."""
        window_ST = np.lib.stride_tricks.sliding_window_view(self.samples, length)
        return window_ST[self.starts[row_B] + begin_B]

    def _padded(self, row_B: np.ndarray, begin_B: np.ndarray, length: int, pad: str) -> np.ndarray:
        """Cuts that reach past the end of their clips: one flat gather."""
        start_B1, end_B1 = self.starts[row_B][:, None], self.lengths[row_B][:, None]
        place_BT = begin_B[:, None] + np.arange(length)
        if pad == "tile":
            return np.take(self.samples, start_B1 + place_BT % end_B1)
        wave_BT = np.take(self.samples, start_B1 + np.minimum(place_BT, end_B1 - 1))
        wave_BT[place_BT >= end_B1] = 0
        return wave_BT

    @cached_property
    def _sounding(self) -> tuple[np.ndarray, np.ndarray]:
        """First sample and end of what lies between leading and trailing silence of each clip, int64 [N]."""
        first_N, end_N = np.zeros_like(self.lengths), self.lengths.copy()
        for row, (start, length) in enumerate(zip(self.starts, self.lengths, strict=True)):
            loud_T = _loud(self.samples[start : start + length])
            if loud_T.any():
                first_N[row] = loud_T.argmax()
                end_N[row] = length - loud_T[::-1].argmax()
        return first_N, end_N

    def _places(self, row_B: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
        """First and last begin of a crop that lies inside the part that sounds, or else holds all of it."""
        first_B, end_B = self._sounding[0][row_B], self._sounding[1][row_B]
        room_B = np.maximum(self.lengths[row_B] - length, 0)
        low_B = np.maximum(np.minimum(first_B, end_B - length), 0)
        return low_B, np.minimum(np.maximum(first_B, end_B - length), room_B)

    def random_begins(self, rows: Any, length: int, rng: torch.Generator) -> np.ndarray:
        """Where a crop of `length` samples of each of `rows` begins, int64 [B], at random inside the part that sounds.

        Where that part is shorter than the crop, the crop contains all of it. A clip no longer than the crop
        is given from its start.
        """
        row_B = np.asarray(rows, dtype=np.int64)
        low_B, high_B = self._places(row_B, length)
        share_B = torch.rand(len(row_B), generator=rng, dtype=torch.float64, device=rng.device).cpu().numpy()
        return low_B + (share_B * (high_B - low_B + 1)).astype(np.int64)

    def centre_begins(self, rows: Any, length: int) -> np.ndarray:
        """The same without chance: the middle of the places where the crop may begin."""
        low_B, high_B = self._places(np.asarray(rows, dtype=np.int64), length)
        return (low_B + high_B) // 2

    def random_crops(self, rows: Any, length: int, rng: torch.Generator, pad: str = "zero") -> Tensor:
        """One crop of each of `rows` at random, int16 [B, length], padded where a clip is shorter."""
        return self.take(rows, self.random_begins(rows, length, rng), length, pad)

    def centre_crops(self, rows: Any, length: int, pad: str = "zero") -> Tensor:
        """The crop in the middle of the places where it may lie, int16 [B, length]."""
        return self.take(rows, self.centre_begins(rows, length), length, pad)

    def longer(self, length: int) -> np.ndarray:
        """Which clips need more than one crop of `length` samples to be heard, bool [N]."""
        return self.lengths > length + length // SLACK

    def windows(self, length: int, hop: int, least: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Row and begin (samples) of every evaluation window, int64 [W] each, clips in order.

        One window for a clip no longer than `length`; else one every `hop` samples, the last flush with the
        end of the clip, and closer together where that would be fewer than `least`. A remainder of less than a
        fiftieth of a window makes no window of its own: a clip that is so little longer gets the one in its
        middle. Silent windows are left out, unless a clip has no other.
        """
        if length < 1 or hop < 1 or least < 1:
            raise ValueError(
                f"window length and hop must be at least one sample, windows at least one, got {length}, {hop}, {least}"
            )
        room_N = np.maximum(self.lengths - length, 0)
        more_N = -(-np.maximum(room_N - length // SLACK, 0) // hop)  # windows after the first
        denser_N = (more_N > 0) & (more_N < least - 1)
        more_N[denser_N] = np.minimum(least - 1, room_N[denser_N])
        row_W = np.repeat(np.arange(len(self)), more_N + 1)
        number_W = np.arange(len(row_W)) - np.repeat(np.cumsum(more_N + 1) - more_N - 1, more_N + 1)
        more_W, room_W = more_N[row_W], room_N[row_W]
        begin_W = np.where(number_W == more_W, room_W, number_W * hop)
        even_W = denser_N[row_W]
        begin_W[even_W] = number_W[even_W] * room_W[even_W] // more_W[even_W]
        begin_W[more_W == 0] = room_W[more_W == 0] // 2
        keep_W = self._sounds(row_W, begin_W, length, alone_W=more_W == 0)
        heard_N = np.bincount(row_W, keep_W, minlength=len(self)) > 0
        keep_W |= ~heard_N[row_W]
        return row_W[keep_W], begin_W[keep_W]

    def _sounds(self, row_W: np.ndarray, begin_W: np.ndarray, length: int, alone_W: np.ndarray) -> np.ndarray:
        """Which windows hold a sound, bool [W]. The only window of a clip is kept without a look."""
        keep_W = alone_W.copy()
        open_W = np.flatnonzero(~alone_W)
        step = max(1, _CHUNK // length)
        for part in (open_W[at : at + step] for at in range(0, len(open_W), step)):
            keep_W[part] = _loud(self.take(row_W[part], begin_W[part], length).numpy()).any(axis=1)
        return keep_W
